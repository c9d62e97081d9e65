use fencepost::{loader::Image, machine::*, memory_model::MemoryModel, runner::*, trace::Event};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let image = Image::open(std::path::Path::new(&a[1])).unwrap();
    let model = MemoryModel::named(&a[3]).unwrap();
    let from: u64 = a[4].parse().unwrap();
    let to: u64 = a[5].parse().unwrap();
    let cores: u8 = a.get(6).map(|s| s.parse().unwrap()).unwrap_or(2);
    for seed in from..to {
        let t = std::time::Instant::now();
        let m =
            Machine::new(&image, Settings { model, cores, command_line: a[2].clone(), ..Default::default() }).unwrap();
        let mut m = m;
        if std::env::var("DETAILS").is_ok() {
            m.set_details(true);
        }
        let mut r = Runner::new(m, Policy::new(seed, Slices::AnyMagnitude));
        let mut serial = Vec::new();
        let mut con = Vec::new();
        let end = r.run(20_000_000, |m| {
            for l in m.take_events() {
                if std::env::var("SHOW").is_ok() {
                    eprintln!("{:x?}", l.event);
                }
                match l.event {
                    Event::Serial { byte } => serial.push(byte),
                    Event::DebugConsole { byte } => con.push(byte),
                    _ => (),
                }
            }
            false
        });
        let steps = r.steps();
        let n = r.schedule().unwrap().choices.len();
        println!(
            "seed {seed}: {end:?} {:?} steps {steps} choices {n} hash {:016x} {:?}\n{}{}",
            r.machine().stop().copied(),
            r.machine().trace_hash(),
            t.elapsed(),
            if to - from == 1 { String::from_utf8_lossy(&serial).to_string() } else { String::new() },
            String::from_utf8_lossy(&con)
        );
    }
}
