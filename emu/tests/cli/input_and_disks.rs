//! What somebody types, and what a guest finds on its disks and leaves there.

use super::fencepost::Folder;

/// In real mode at 0000:7c00: writes a sector of zeros to sector 1 through the disk's ports, and exits with 0.
const WRITER: &[u8] = &[
    0xfa, // cli
    0xba, 0xf2, 0x01, 0xb0, 0x01, 0xee, // port 1f2: one sector
    0x42, 0xb0, 0x01, 0xee, // 1f3: sector 1
    0x42, 0x30, 0xc0, 0xee, // 1f4: 0
    0x42, 0xee, // 1f5: 0
    0x42, 0xb0, 0xe0, 0xee, // 1f6: LBA, disk 0
    0x42, 0xb0, 0x30, 0xee, // 1f7: write sectors
    0xec, 0xa8, 0x08, 0x74, 0xfb, // wait for DRQ
    0xba, 0xf0, 0x01, 0xb9, 0x00, 0x01, 0x31, 0xc0, 0xef, 0xe2, 0xfd, // 256 words of 0
    0xba, 0xf7, 0x01, 0xec, 0xa8, 0x80, 0x75, 0xfb, // wait while busy
    0x30, 0xc0, 0xe6, 0xf4, // exit with 0
];

/// Starts a periodic timer, masks all lines, of the first eight those that the byte at [`MASK_AT`] says, and sleeps.
const SLEEPER: &[u8] = &[
    0xb0, 0x34, 0xe6, 0x43, 0x30, 0xc0, 0xe6, 0x40, 0xe6, 0x40, // counter 0, mode 2, the longest period
    0xb0, 0xff, 0xe6, 0xa1, 0xb0, 0xff, 0xe6, 0x21, // masks
    0xfb, 0xf4, 0xeb, 0xfd, // sti; hlt; again
];
const MASK_AT: usize = 15;

/// Turns the mouse on, sends its answer and the nine bytes of three packets down the serial line, and exits with 0.
const MOUSE_READER: &[u8] = &[
    0xfa, // cli
    0xb0, 0xa8, 0xe6, 0x64, // mouse on
    0xb0, 0xd4, 0xe6, 0x64, 0xb0, 0xf4, 0xe6, 0x60, // to the mouse: report
    0xb9, 0x0a, 0x00, 0xba, 0xf8, 0x03, // ten bytes, to COM1
    0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, // wait for a byte
    0xe4, 0x60, 0xee, 0xe2, 0xf5, // pass it on
    0x30, 0xc0, 0xe6, 0xf4, // exit with 0
];

fn boot_disk() -> Vec<u8> {
    boots(WRITER)
}

/// A disk that boots `code`.
fn boots(code: &[u8]) -> Vec<u8> {
    let mut disk = vec![0xaa; 4 * 512];
    disk[..512].fill(0);
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

#[test]
fn a_disk_is_written_only_when_that_is_asked_for() {
    let folder = Folder::new().with("boot.img", &boot_disk());
    folder.run("run boot.img --cores 1").exits_with(0);
    assert_eq!(folder.read("boot.img"), boot_disk());
    folder.run("run boot.img --cores 1 --commit").exits_with(0);
    let disk = folder.read("boot.img");
    assert_eq!((&disk[..512], &disk[1024..]), (&boot_disk()[..512], &boot_disk()[1024..]));
    assert!(disk[512..1024].iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_that_ends_inside_a_sector_keeps_its_length() {
    let disk = &boot_disk()[..3 * 512 + 7];
    let folder = Folder::new().with("boot.img", disk);
    folder.run("run boot.img --cores 1 --commit").exits_with(0);
    let after = folder.read("boot.img");
    assert!(after[512..1024].iter().all(|byte| *byte == 0), "it was written to");
    assert_eq!((after.len(), &after[1024..]), (disk.len(), &disk[1024..]));
}

#[test]
fn committing_needs_a_disk() {
    let said = Folder::new().run("run hello --commit").exits_with(2);
    assert!(said.stderr.contains("--disk"), "{said:?}");
}

#[test]
fn keys_are_typed_and_recorded() {
    let folder = Folder::new();
    let said = folder.run(r"run keyboard/typed --keys hello\u0003 --serial --record keys.txt").exits_with(0);
    assert!(said.stdout.contains("hello"), "{said:?}");
    let again = folder.run("run keyboard --schedule keys.txt --serial").exits_with(0);
    assert_eq!(again.stdout, said.stdout);
}

#[test]
fn the_mouse_does_what_a_script_says_and_is_recorded() {
    let script = b"mouse press left\nmouse move 10 -5\nat 0.02s mouse release left\n";
    let folder = Folder::new().with("mouse.img", &boots(MOUSE_READER)).with("input", script);
    let packets = |words: &[&str]| {
        let words = [&["run", "mouse.img", "--cores", "1", "--serial"], words].concat();
        folder.command(&words).output().expect("the command can be started").stdout
    };
    let recorded = packets(&["--input", "input", "--record", "run.txt"]);
    assert_eq!(recorded, [0xfa, 0x09, 0, 0, 0x29, 10, 0xfb, 0x08, 0, 0], "an answer and three packets");
    assert_eq!(packets(&["--schedule", "run.txt"]), recorded);
    let schedule = String::from_utf8(folder.read("run.txt")).expect("a schedule is text");
    for choice in [" m0,0,1 ", " m10,-5,1 ", " m0,0,0 "] {
        assert!(schedule.contains(choice), "no {choice} in {schedule}");
    }
    let hash =
        |options: &str| folder.run(&format!("run mouse.img --cores 1 --json {options}")).json()["trace_hash"].clone();
    assert_eq!(hash("--input input"), hash("--schedule run.txt"));
    let late = folder.run("run mouse.img --cores 1 --input input --json").json();
    assert!(late["virtual_seconds"].as_f64() >= Some(0.02), "the release waits for its time: {late}");
}

#[test]
fn what_the_guest_has_not_taken_is_said() {
    let script = b"# nobody reads this\nmouse press left\nmouse move 1 1\nafter \"never\" keys \"a\"\n";
    let folder = Folder::new().with("mouse.img", &boots(MOUSE_READER)).with("input", script);
    let run = "run mouse.img --cores 1 --max-steps 3000000 --input input";
    let said = folder.run(run).exits_with(3);
    let expected = "input    not done: 1 line of --input (line 4), first after \"never\" keys \"a\"\n";
    assert!(said.stderr.contains(expected), "{said:?}");
    let undone = folder.run(&format!("{run} --json")).json()["undone"].clone();
    assert_eq!((&undone["lines"], &undone["first_line"], &undone["keys"]), (&1.into(), &4.into(), &0.into()));
    // Nobody takes a key: one lies in the keyboard's buffer.
    let folder = folder.with("halt.img", &boots(&[0xfa, 0xf4]));
    let said = folder.run("run halt.img --cores 1 --serial --keys abcdefghijklmnopqrstuvw --input input");
    let expected = " characters of --keys and 3 lines of --input (from line 2), first keys \"";
    assert!(said.stderr.contains(expected), "{said:?}");
    let said = folder.run(r"run keyboard/typed --keys hello\u0003").exits_with(0);
    assert!(!said.stderr.contains("not done"), "{said:?}");
    let raw = folder.run("run keyboard/typed --keys hello\u{3} --json").exits_with(0).json();
    let escaped = folder.run(r"run keyboard/typed --keys hello\u0003 --json").exits_with(0).json();
    assert_eq!(raw["trace_hash"], escaped["trace_hash"], "a character may be given as it is");
}

#[test]
fn a_timer_that_nobody_hears_keeps_no_machine_awake() {
    let mut hears_serial = SLEEPER.to_vec();
    hears_serial[MASK_AT] = 0xef;
    let folder = Folder::new().with("deaf.img", &boots(SLEEPER)).with("serial.img", &boots(&hears_serial));
    let said = folder.run("run deaf.img --cores 1").exits_with(0);
    assert!(said.stderr.contains("nothing can wake them"), "{said:?}");
    let said = folder.run("run serial.img --cores 1").exits_with(0);
    assert!(said.stderr.contains("waits for input"), "{said:?}");
    // The timer's own line is another matter: it wakes the guest again and again.
    let mut hears_timer = SLEEPER.to_vec();
    hears_timer[MASK_AT] = 0xfe;
    folder.with("timer.img", &boots(&hears_timer)).run("run timer.img --cores 1 --max-steps 10000").exits_with(3);
}

#[test]
fn wrong_input_is_refused_before_anything_runs() {
    let folder = Folder::new().with("input", b"keys ls").with("capture", b"nothing");
    let said = folder.run("run keyboard/typed --input input").exits_with(2);
    assert!(said.stderr.contains("line 1") && said.stderr.contains("quotes"), "{said:?}");
    let said = folder.run(r"run keyboard/typed --keys \q").exits_with(2);
    assert!(said.stderr.contains(r"--keys: `\q` is no escape"), "{said:?}");
    let said = folder.run("run keyboard/typed --keys \u{1}ü").exits_with(2);
    assert!(said.stderr.contains("no key of a US keyboard writes 'ü'"), "{said:?}");
    folder.run("run keyboard/typed --input nowhere").exits_with(2);
    folder.run("run keyboard/typed --disk nowhere").exits_with(2);
    let said = folder.with("boot.img", &boot_disk()).run("run boot.img --frames capture").exits_with(2);
    assert!(said.stderr.contains("capture"), "{said:?}");
}

#[test]
fn what_the_network_card_sends_can_be_captured() {
    let folder = Folder::new();
    folder.run("run network/read-back --capture sent.pcap").exits_with(0);
    let capture = folder.read("sent.pcap");
    assert_eq!(capture[..4], 0xa1b2_3c4d_u32.to_le_bytes(), "nanoseconds, little-endian");
    assert!(capture.len() > 24 + 8 * 16, "eight frames");
}

#[test]
fn interrupts_may_be_held_off_for_long_and_not_for_ever() {
    let folder = Folder::new();
    let longest = folder.run("run timer/periodic --irq-jitter 1000000000 --max-steps 1000000");
    assert!(longest.code == 0 || longest.code == 3, "{longest:?}");
    let said = folder.run("run timer/periodic --irq-jitter 1000000001").exits_with(2);
    assert!(said.stderr.contains("--irq-jitter") && said.stderr.contains("1000000000"), "{said:?}");
}
