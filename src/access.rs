//! Authentication and egress policy: pure decisions, without a runtime and without a framework.

pub mod auth;
pub mod client;
pub mod limits;
pub mod policy;
pub mod shares;
