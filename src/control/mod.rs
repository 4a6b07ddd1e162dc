//! The operators' socket: orders (`ready`, `drain`, `maint`, `auto`) and `status` of the command line.
//!
//! [`protocol`] is the line that goes over the socket, [`desk`] listens and knows who asks, [`book`] decides what
//! an order may do, [`order_file`] keeps the orders over a restart.

pub mod book;
pub mod desk;
pub mod order_file;
pub mod protocol;
