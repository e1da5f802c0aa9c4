//! Who may come in, and where they may go: pure decisions, without a runtime and without a framework.

pub mod auth;
pub mod policy;
