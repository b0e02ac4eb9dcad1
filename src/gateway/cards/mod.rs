//! Cards: which places are replaced, and how nothing else is touched.
