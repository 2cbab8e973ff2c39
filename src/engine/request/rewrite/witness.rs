//! What is told of a request while its head is made: which rule, or what of the engine's own, decided about each
//! header and query parameter. `()` listens to nothing, and costs nothing: that is what requests run with.

use http::HeaderName;

/// Listens while a head is made.
pub trait Witness {
    /// Something was decided about a header. The last word on a name counts.
    fn header(&mut self, _name: &HeaderName, _fate: Fate) {}
    /// Something was decided about a query parameter, by its decoded name.
    fn query(&mut self, _name: &str, _fate: Fate) {}
}

impl Witness for () {}

/// What became of a header or a query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes up as the client sent it: nothing is about it.
    Kept,
    /// The engine dropped what the client sent.
    Dropped(Reason),
    /// The engine wrote it.
    Own(Own),
    /// A rule of a file did what its kind says.
    Ruled(Rule),
}

/// Why the engine drops what a client sent, whatever the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Framing and connection are the engine's own.
    Managed,
    /// It carries a token, a session, or another path or method than the one that was allowed.
    Stripped,
    /// It says where the client is, or what page it is on, and no `headers.pass` lets it through.
    Unpassed,
    /// The provider's file sets it somewhere.
    Claimed,
    /// A client may put its gateway token there.
    TokenLocation,
    /// The client's `Connection` names it.
    Nominated,
}

/// What the engine writes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// `Host`: where the request goes.
    Host,
    /// `TE` and `Connection`: the client takes trailers.
    Trailers,
}

/// A rule, by its place in the bound provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The table that it stands in.
    pub table: RuleTable,
    /// Which of the table's lists.
    pub kind: RuleKind,
    /// Which one of the list.
    pub index: usize,
}

/// Where rules stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleTable {
    /// The provider's `headers`.
    Provider,
    /// The endpoint's `headers`, or its `query`.
    Endpoint,
    /// The `[[auth]]` entry of the chosen credential.
    Auth,
    /// An overlay's `headers`: which one.
    Overlay(usize),
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Lets through what the engine would drop.
    Pass,
    /// Removes.
    Remove,
    /// Adds where the client sent none.
    Default,
    /// Sets, whatever was there.
    Set,
}

impl RuleTable {
    pub(super) fn rule(self, kind: RuleKind, index: usize) -> Fate {
        Fate::Ruled(Rule { table: self, kind, index })
    }
}
