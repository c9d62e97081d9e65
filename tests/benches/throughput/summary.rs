//! The table of ratios, from what criterion has just measured.

use super::{Loop, SLICES, label};
use std::path::PathBuf;

/// Prints each setting's speed as a fraction of bare Unicorn's, and the geometric mean over the loops.
pub(crate) fn print() {
    println!("\nGuest instructions per second as a fraction of bare Unicorn's (medians of one run)\n");
    println!("| cores | slice | {} | geometric mean |", Loop::ALL.map(Loop::name).join(" | "));
    println!("|---|---|{}---|", "---|".repeat(Loop::ALL.len()));
    for cores in [1, 2, 4] {
        for slices in SLICES {
            let id = format!("cores={cores}/{}", label(slices));
            let ratios = Loop::ALL.map(|guest| Some(median(guest, "bare")? / median(guest, &id)?));
            let Some(ratios) = ratios.into_iter().collect::<Option<Vec<f64>>>() else { continue };
            let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
            let cells: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
            println!("| {cores} | {} | {} | {:.3} |", label(slices), cells.join(" | "), mean.exp());
        }
    }
    for guest in Loop::ALL {
        if let Some(nanoseconds) = median(guest, "bare") {
            println!("\nbare Unicorn, {}: {:.0} MIPS", guest.name(), super::STEPS as f64 / nanoseconds * 1000.0);
        }
    }
}

/// The median time of one iteration, in nanoseconds.
fn median(guest: Loop, id: &str) -> Option<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("../target"), PathBuf::from);
    // Criterion makes a folder of each part of the identifier, with `=` kept and `/` only where the part ends.
    let path = target.join("criterion").join(guest.name()).join(id).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
