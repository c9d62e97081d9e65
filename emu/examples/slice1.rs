use fencepost::{loader::Image, machine::*, runner::*};
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut code = vec![0xbb, 0, 0, 0x20, 0];
    code.extend([
        0x48, 0x89, 0x03, 0x48, 0x83, 0xc0, 0x03, 0x48, 0x89, 0x4b, 0x08, 0x48, 0x8b, 0x13, 0x89, 0x53, 0x10, 0x48,
        0x31, 0xd0, 0x48, 0xff, 0xc9, 0x75, 0xe7,
    ]);
    let image = Image::from_flat("x", code);
    let m = Machine::new(&image, Settings::default()).unwrap();
    let mut r = Runner::new(m, Policy::new(1, Slices::Around(n))).without_record();
    let t = std::time::Instant::now();
    r.run(if n < 5 { 5_000_000 } else { 20_000_000 }, |m| {
        m.take_events();
        false
    });
    println!("{:?} {} steps {:.1} MIPS", r.machine().stop(), t.elapsed().as_secs_f64(), 0.0);
    println!("{:.2} MIPS", (if n < 5 { 5. } else { 20. }) / t.elapsed().as_secs_f64());
}
