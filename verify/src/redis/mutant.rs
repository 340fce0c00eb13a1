//! Wrong protocols, by name. Each is `protocol` with one thing left out; the checker must find every one of them.

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// Values and leases count whichever life of whichever server wrote them.
    Fence,
    /// A flight is joined whenever it began: also by a call that began after a clear on another machine.
    Join,
    /// Memory serves for as long as its timeout, and hears of no clear.
    Timeout,
    /// A hit looks at the entry first, and at the proof after that.
    Proof,
    /// Memory outlives the connection on which clears are heard.
    Gap,
    /// A fill is a plain SET.
    Fill,
    /// A clear clears memory first, and Redis after that.
    Order,
    /// A clear that got no answer says that it is applied.
    Applied,
    /// Who listens does not ask whether calls go to the same server: it may have been left with a former primary.
    Former,
    /// In a cluster: who listens stays where it is when a slot moves.
    Slot,
    /// In a cluster: what one node has answered is proven, whatever the others do.
    Part,
}

pub const ALL: [(&str, Mutant); 12] = [
    ("none", Mutant::None),
    ("fence", Mutant::Fence),
    ("join", Mutant::Join),
    ("timeout", Mutant::Timeout),
    ("proof", Mutant::Proof),
    ("gap", Mutant::Gap),
    ("fill", Mutant::Fill),
    ("order", Mutant::Order),
    ("applied", Mutant::Applied),
    ("former", Mutant::Former),
    ("slot", Mutant::Slot),
    ("part", Mutant::Part),
];

/// Those that are wrong on a cluster, or else on one server and its replica.
pub fn of(cluster: bool) -> impl Iterator<Item = (&'static str, Mutant)> {
    let of_both = |mutant| matches!(mutant, Mutant::None | Mutant::Fence);
    let of_cluster = |mutant| matches!(mutant, Mutant::Slot | Mutant::Part);
    ALL.into_iter()
        .filter(move |(_, mutant)| of_both(*mutant) || of_cluster(*mutant) == cluster)
}

impl Mutant {
    pub fn name(self) -> &'static str {
        ALL.iter()
            .find(|(_, of)| *of == self)
            .map_or("", |(name, _)| name)
    }
}
