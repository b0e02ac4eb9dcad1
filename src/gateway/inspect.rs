//! What a request says about itself, read in one pass.
