//! The sockets that say it: the agent's ports, agent-send's questions, and HTTP.
//!
//! Each connection reads the published facts, has the verdict made at that moment, and writes one answer. Nothing
//! here looks at a server or changes a fact (a candidate's question, `/release/`, is handed to the keeper); room is bounded by `host::seats`.

pub mod agent;
pub mod asking;
pub mod awake;
pub mod http;
pub mod open;
pub mod question;
pub mod sockets;
mod strangers;
