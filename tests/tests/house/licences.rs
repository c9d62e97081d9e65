//! The binary contains Unicorn, parts of which are GPL version 2 only, so all that is linked to it must allow that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

use super::project::{guest, metadata, root};

/// Licences whose code may be part of a GPL-2.0-only program (gnu.org, "Various Licenses and Comments about Them").
/// Apache-2.0 is missing on purpose: its patent clause is a further restriction, which version 2 of the GPL forbids.
const COMPATIBLE: &[&str] = &[
    "0BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // The older name of the next one, which Unicorn's crates use.
    "GPL-2.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "ISC",
    "LGPL-2.1-or-later",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const OURS: &str = "GPL-2.0-only";

#[test]
fn every_crate_in_the_binary_may_be_combined_with_unicorn() {
    let metadata = metadata(root());
    let linked = linked_into(&metadata, "fencepost");
    assert!(linked.contains_key("unicorn-engine"), "fencepost is expected to contain Unicorn, found only {linked:?}");
    let refused: Vec<_> = linked.iter().filter(|(_, licence)| !is_compatible(licence)).collect();
    assert!(refused.is_empty(), "these crates may not be linked into a {OURS} binary: {refused:?}");
}

#[test]
fn all_our_packages_say_gpl_2_only() {
    for folder in [root(), &guest()] {
        let metadata = metadata(folder);
        let members: BTreeSet<&str> = strings(&metadata["workspace_members"]);
        for package in list(&metadata["packages"]) {
            if members.contains(text(&package["id"])) {
                assert_eq!(package["license"], OURS, "the licence of {}", package["name"]);
            }
        }
    }
}

#[test]
fn an_alternative_to_apache_is_what_makes_a_licence_acceptable() {
    for accepted in ["MIT OR Apache-2.0", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0", "GPL-2.0"] {
        assert!(is_compatible(accepted), "{accepted}");
    }
    for refused in ["Apache-2.0", "MIT AND Apache-2.0", "GPL-3.0-only", "(MIT OR Apache-2.0) AND OpenSSL", ""] {
        assert!(!is_compatible(refused), "{refused}");
    }
}

fn is_compatible(licence: &str) -> bool {
    // Lax, because crates older than SPDX's present rules write `/` for OR.
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return false;
    };
    expression.evaluate(|wanted| {
        COMPATIBLE.iter().any(|name| {
            let offer = Licensee::parse_mode(name, ParseMode::LAX)
                .unwrap_or_else(|error| panic!("{name} in COMPATIBLE: {error}"));
            offer.satisfies(wanted)
        })
    })
}

/// Name and licence of a package and of all that its normal dependencies bring in: build scripts and tests are not
/// distributed, so theirs do not count.
fn linked_into<'a>(metadata: &'a Value, name: &str) -> BTreeMap<&'a str, &'a str> {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let mut pending: Vec<&str> =
        packages.iter().filter(|(_, package)| package["name"] == name).map(|(id, _)| *id).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if reached.insert(id) {
            pending.extend(list(&nodes[id]["deps"]).filter(is_normal).map(|dependency| text(&dependency["pkg"])));
        }
    }
    reached
        .into_iter()
        .map(|id| {
            let licence = packages[id]["license"].as_str().unwrap_or_default();
            (text(&packages[id]["name"]), licence)
        })
        .collect()
}

fn is_normal(dependency: &&Value) -> bool {
    list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("cargo metadata gives a list here").iter()
}

fn strings(value: &Value) -> BTreeSet<&str> {
    list(value).map(text).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata gives a string here")
}
