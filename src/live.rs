//! The current table: one pointer that every request reads once and a reload replaces whole. A request in
//! flight keeps the provider that it found; nothing here ever waits.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::table::Table;

/// The table that requests are looked up in now.
#[derive(Debug)]
pub struct Live {
    table: ArcSwap<Table>,
}

impl Live {
    /// Starts with a table.
    pub fn new(table: Table) -> Self {
        Self { table: ArcSwap::from_pointee(table) }
    }

    /// The current table. Cheap: no lock, no count that workers share.
    pub fn current(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }
}
