//! Finding places in a JSON text and replacing only these.
