//! HTTP/1 messages whose bounds everybody reads alike.
//!
//! hyper hides what the contract refuses: of `Content-Length` with `Transfer-Encoding` it drops the
//! former, it takes two `Transfer-Encoding` fields, LF without CR, and no or two `Host`; nothing of that
//! shows in the request that it hands over. So the bytes are judged before hyper sees them. What
//! passes is strict enough for any reader to find the same heads and the same bodies in it.

pub(crate) mod section;
pub(crate) mod head;
pub(crate) mod chunks;
pub(crate) mod deadline;
pub(crate) mod guard;
