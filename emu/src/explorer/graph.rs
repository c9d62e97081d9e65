//! An execution as a graph, as herd draws it: program order (po), reads-from (rf), coherence (co), from-reads (fr).
//!
//! Nodes are the accesses that another could see ([`Shared`]). Coherence is the order in which writes became visible, among
//! those with the same first byte; a read is from the write that gave its first byte. (Alglave, Maranget, Tautschnig,
//! Herding Cats, TOPLAS 2014.)

use super::explain::{Effect, Explanation, Stored, shown};
use super::shared::Shared;
use crate::core::CoreId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A node.
struct Access {
    core: Option<CoreId>,
    is_write: bool,
    address: u64,
    value: u64,
}

/// The graph in the language of graphviz; `name` names addresses.
pub fn dot(explanation: &Explanation, name: impl Fn(u64) -> String) -> String {
    let mut graph = Graph::default();
    let shared = Shared::of(explanation);
    for row in &explanation.rows {
        let Some(core) = row.core else { continue };
        for effect in row.effects.iter().filter(|effect| shared.has(effect)) {
            graph.take(core, effect);
        }
    }
    graph.text(name)
}

#[derive(Default)]
struct Graph {
    accesses: Vec<Access>,
    /// Writes in each core's buffer, oldest first.
    pending: HashMap<CoreId, Vec<(Stored, usize)>>,
    /// Visible writes to each address, oldest first.
    coherence: BTreeMap<u64, Vec<usize>>,
    /// From which write each read is; `None` from the initial one.
    reads_from: Vec<(usize, Option<usize>)>,
}

impl Graph {
    fn take(&mut self, core: CoreId, effect: &Effect) {
        match *effect {
            Effect::Load { address, value, forwarded, .. } => {
                let read = self.add(core, false, address, value);
                let own = self.pending.get(&core).into_iter().flatten().rev();
                let own = own.clone().find(|(stored, _)| stored.address == address).map(|(_, write)| *write);
                let visible = self.coherence.get(&address).and_then(|writes| writes.last().copied());
                self.reads_from.push((read, if forwarded { own } else { visible }));
            }
            Effect::Store { stored, buffered } => {
                let write = self.add(core, true, stored.address, stored.value);
                if buffered {
                    self.pending.entry(core).or_default().push((stored, write));
                } else {
                    self.coherence.entry(stored.address).or_default().push(write);
                }
            }
            Effect::Drain { stored } => {
                let pending = self.pending.entry(core).or_default();
                if let Some(index) = pending.iter().position(|(it, _)| *it == stored) {
                    let (_, write) = pending.remove(index);
                    self.coherence.entry(stored.address).or_default().push(write);
                }
            }
            Effect::Fence
            | Effect::Device
            | Effect::Arrive
            | Effect::Interrupt
            | Effect::Enter { .. }
            | Effect::Return
            | Effect::Finish
            | Effect::Fault { .. }
            | Effect::Exception { .. }
            | Effect::Halt
            | Effect::Input { .. }
            | Effect::Pass
            | Effect::LeftOut { .. } => (),
        }
    }

    fn add(&mut self, core: CoreId, is_write: bool, address: u64, value: u64) -> usize {
        self.accesses.push(Access { core: Some(core), is_write, address, value });
        self.accesses.len() - 1
    }

    fn text(&self, name: impl Fn(u64) -> String) -> String {
        let mut text = String::from("digraph execution {\n  node [shape=plaintext];\n");
        let mut by_core: BTreeMap<Option<CoreId>, Vec<usize>> = BTreeMap::new();
        for (index, access) in self.accesses.iter().enumerate() {
            by_core.entry(access.core).or_default().push(index);
        }
        for (core, accesses) in &by_core {
            let title = core.map_or(String::new(), |core| core.to_string());
            text += &format!("  subgraph \"cluster_{title}\" {{ label=\"{title}\"; color=grey;\n");
            for &index in accesses {
                let Access { is_write, address, value, .. } = &self.accesses[index];
                let kind = if *is_write { "W" } else { "R" };
                text += &format!(
                    "    e{index} [label=\"{}: {kind}[{}]={}\"];\n",
                    letters(index),
                    name(*address),
                    shown(*value)
                );
            }
            text += "  }\n";
            for pair in accesses.windows(2) {
                text += &edge(&format!("e{}", pair[0]), pair[1], "po", "black");
            }
        }
        text += &self.communications(name);
        text + "}\n"
    }

    /// rf, co and fr; what was there at first is a write of its own.
    fn communications(&self, name: impl Fn(u64) -> String) -> String {
        let mut text = String::new();
        let initial: BTreeSet<u64> = self.accesses.iter().map(|access| access.address).collect();
        for address in &initial {
            text += &format!("  i{address:x} [label=\"Init: [{}]\"];\n", name(*address));
        }
        let node =
            |write: Option<usize>, address: u64| write.map_or(format!("i{address:x}"), |write| format!("e{write}"));
        for (address, writes) in &self.coherence {
            let mut before = None;
            for &write in writes {
                text += &edge(&node(before, *address), write, "co", "blue");
                before = Some(write);
            }
        }
        for &(read, from) in &self.reads_from {
            let address = self.accesses[read].address;
            text += &edge(&node(from, address), read, "rf", "red");
            let writes = self.coherence.get(&address).map_or(&[][..], Vec::as_slice);
            let after = match from {
                None => writes.first(),
                Some(from) => writes.iter().skip_while(|write| **write != from).nth(1),
            };
            if let Some(&after) = after.filter(|after| Some(**after) != from) {
                text += &edge(&format!("e{read}"), after, "fr", "darkorange");
            }
        }
        text
    }
}

fn edge(from: &str, to: usize, label: &str, colour: &str) -> String {
    format!("  {from} -> e{to} [label=\"{label}\", color={colour}, fontcolor={colour}];\n")
}

/// a, b, ..., z, a1, b1, ...
fn letters(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
}
