//! The orders that stand, as whoever keeps their file last said: for the status, which counts nothing by them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::verdict::order::Order;

/// The orders, and what is wrong with their file.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Those that stood when it was said.
    pub orders: Vec<Arc<Order>>,
    /// What is wrong with their file, where something is.
    pub damaged: Option<String>,
}

/// What was said last. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct StandingOrders(Arc<Mutex<Kept>>);

impl StandingOrders {
    /// These stand from now on.
    pub fn set(&self, orders: Vec<Arc<Order>>, damaged: Option<&str>) {
        let damaged = damaged.map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept { orders, damaged };
    }

    /// As it was said last.
    pub fn kept(&self) -> Kept {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
