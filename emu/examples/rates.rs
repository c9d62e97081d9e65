use fencepost::{memory_model::MemoryModel, testbench::*};
use rayon::prelude::*;
use std::collections::BTreeMap;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let only = std::env::args().nth(2);
    for p in fencepost::programs::all() {
        if only.as_ref().is_some_and(|o| o != p.name) {
            continue;
        }
        for v in p.variants {
            for e in v.expectations {
                let m = MemoryModel::named(e.model).unwrap();
                let t = std::time::Instant::now();
                let r: Vec<(String, u64)> = (0..n)
                    .into_par_iter()
                    .map(|s| {
                        let r = Testbench::program(&format!("{}/{}", p.name, v.name))
                            .unwrap()
                            .model(m)
                            .seed(s)
                            .unrecorded()
                            .max_steps(20_000_000)
                            .run()
                            .unwrap();
                        (
                            r.outcome().map(|s| s.to_string()).unwrap_or(format!("{:?} {:?}", r.ended(), r.stop())),
                            r.steps(),
                        )
                    })
                    .collect();
                let mut c: BTreeMap<String, u64> = BTreeMap::new();
                for (o, _) in &r {
                    *c.entry(o.clone()).or_default() += 1;
                }
                let steps: u64 = r.iter().map(|x| x.1).sum::<u64>() / n;
                let mut notes = String::new();
                for (o, k) in &c {
                    match e.outcomes.iter().find(|x| x.text == o) {
                        None => notes += &format!(" UNLISTED {o}:{k}"),
                        Some(x) if x.hazard => notes += &format!(" hazard {:.1}%", 100.0 * *k as f64 / n as f64),
                        _ => {}
                    }
                }
                for x in e.outcomes {
                    if x.hazard && !c.contains_key(x.text) {
                        notes += &format!(" MISSING {}", x.text);
                    }
                }
                println!(
                    "{}/{} {} steps {} time {:.1}ms {}",
                    p.name,
                    v.name,
                    e.model,
                    steps,
                    t.elapsed().as_secs_f64() * 1000.0 / n as f64,
                    notes
                );
            }
        }
    }
}
