//! The way of one request, from its checked head to its record.

pub mod admit;
pub mod app;
pub mod connect;
pub mod dispatch;
pub mod facts;
pub mod forward;
mod hooks;
pub mod lifecycle;
pub mod live;
pub mod outcome;
mod outgoing;
pub mod own;
mod progress;
pub mod reply;
pub mod request_id;
pub mod route;
pub mod token_keys;
pub mod trace_export;
pub mod tunnel;
pub mod websocket;
