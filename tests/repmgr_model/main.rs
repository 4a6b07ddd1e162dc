//! A model of repmgr's clusters, walked through by the rule that rolecall answers by.

mod answers;
mod cases;
mod cluster;
mod faults;
mod file;
mod gate;
mod holes;
mod network;
mod oracle;
mod play;
mod process;
mod proxy;
mod reference;
mod repmgr;
mod repmgrd;
mod rng;
mod script;
mod sim;
mod steps;
mod text;
mod timed;
mod timed_cases;
mod walk;
mod walks;
