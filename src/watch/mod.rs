//! The rhythm of looking, and the one writer of the facts.
//!
//! A [`poller`] looks in its rhythm and within its deadline; the [`keeper`] alone folds what it saw into the
//! facts and publishes them; [`planner`], [`plan`] and [`watched`] say who is looked at; [`record`] keeps over a restart what
//! rule R must not forget; [`fencing`] ends the sessions that a node which is out must not keep.

mod beside;
pub mod fencing;
pub mod keeper;
pub mod plan;
pub mod planner;
pub mod poke;
pub mod poller;
pub mod record;
pub mod watched;
