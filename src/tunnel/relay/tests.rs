//! The relay over real loopback sockets, and over memory where time is played.

mod bytes;
mod closing;
mod directions;
mod fairness;
mod idle;
mod meter;
mod recorder;
mod reset;
mod splicing;
mod support;
mod tls;
