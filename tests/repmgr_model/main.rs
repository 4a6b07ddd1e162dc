//! A model of repmgr's clusters, walked through by the rule that rolecall answers by.

mod answers;
mod cases;
mod cluster;
mod daemon;
mod driver;
mod faults;
mod loops;
mod reference;
mod repmgr;
mod repmgrd;
mod rng;
mod sim;
mod timed;
mod timed_cases;
mod walk;
mod walks;
