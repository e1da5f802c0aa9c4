//! The way of one request, from its checked head to its record.

pub mod app;
pub mod authorize;
pub mod connect;
pub mod dispatch;
pub mod exchange;
pub mod forward;
pub mod lifecycle;
pub mod reply;
pub mod request_id;
pub mod upgrade;
