//! What is still missing before calls can be answered.
