//! Bad use and bad input: exit code 2, one message that names the thing, nothing else said, nothing left behind.

use super::elf::{BASE, EXIT_42, Elf, HALT};
use super::fencepost::Folder;

/// A schedule header for `image` with no choices.
fn schedule(image: &str, settings: &str) -> String {
    format!("fencepost-schedule 1 image={image} {settings} depth=8 wc-depth=8 args=\"\" : 0*1\n")
}

/// A Multiboot kernel: a header that says where it is loaded, then `code`.
fn multiboot_kernel(code: &[u8]) -> Vec<u8> {
    const HEADER: u32 = 32;
    let base = BASE as u32;
    let (magic, flags) = (0x1bad_b002_u32, 1_u32 << 16);
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let words = [magic, flags, checksum, base, base, 0, 0, base + HEADER];
    [&words.map(u32::to_le_bytes).concat(), code].concat()
}

/// A sector that boots and sleeps.
fn boot_sector() -> Vec<u8> {
    [HALT, &[0; 510][HALT.len()..], &[0x55, 0xaa]].concat()
}

/// A capture (pcap) without frames: magic, version 2.4, times, longest frame, Ethernet.
fn empty_capture() -> Vec<u8> {
    [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, 1_u32].map(u32::to_le_bytes).concat()
}

const SETTINGS: &str = "cores=2 model=tso ram=8388608";

/// A folder with one of everything.
fn folder() -> Folder {
    let good = Elf::default().file(EXIT_42);
    let recorded = Folder::new().with("good.elf", &good);
    recorded.run("run good.elf --record good.txt").exits_with(42);
    let of_good = recorded.read("good.txt");
    let impossible = String::from_utf8_lossy(&of_good).replace(": ", ": 9*5 ");
    let too_long = [&of_good, &b" p 0*7"[..]].concat();
    let folder = Folder::new()
        .with("good.elf", &good)
        .with("too-long.txt", &too_long)
        .with("good.txt", &of_good)
        .with("impossible.txt", impossible.as_bytes())
        .with("cut.elf", &good[..100])
        .with("short.elf", &good[..good.len() - 1])
        .with("arm.elf", &Elf { machine: 183, ..Elf::default() }.file(EXIT_42))
        .with("shared.elf", &Elf { kind: 3, ..Elf::default() }.file(EXIT_42))
        .with("dynamic.elf", &Elf { segment: 3, ..Elf::default() }.file(EXIT_42))
        .with("high.elf", &Elf { address: 0x1000_0000, ..Elf::default() }.file(EXIT_42))
        .with("low.elf", &Elf { address: 0x1000, ..Elf::default() }.file(EXIT_42))
        .with("empty.bin", b"")
        .with("text.txt", b"hello")
        .with("noise.txt", b"\xff\xfe\x00")
        .with("other.txt", schedule("0000000000000001", SETTINGS).as_bytes())
        .with("many-cores.txt", schedule("0000000000000001", "cores=65 model=tso ram=8388608").as_bytes())
        .with("read-only.png", b"")
        .with("folder.elf.d", b"");
    let folder = folder
        .with("kernel.elf", &multiboot_kernel(EXIT_42))
        .with("boot.img", &boot_sector())
        .with("unsigned.img", &boot_sector()[..510])
        .with("disk.img", b"a sector is begun")
        .with("module", b"a module")
        .with("keys.txt", b"keys \"a\"\n")
        .with("frames.pcap", &empty_capture())
        .with("empty.img", b"");
    let huge = std::fs::File::create(folder.path().join("huge")).expect("the folder can be written");
    huge.set_len(1 << 40).expect("a file may have holes");
    #[cfg(unix)]
    {
        let at = |name: &str| folder.path().join(name);
        std::fs::hard_link(at("disk.img"), at("same.img")).expect("links can be made");
        #[cfg(target_os = "linux")]
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe can be made");
    }
    std::fs::create_dir(folder.path().join("folder")).expect("the folder can be written");
    let read_only = folder.path().join("read-only.png");
    let mut permissions = std::fs::metadata(&read_only).expect("it was just written").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&read_only, permissions).expect("it is ours");
    folder
}

/// Arguments, and what the message must contain.
const CASES: &[(&str, &[&str])] = &[
    // Guests.
    ("run ./none.elf", &["./none.elf", "No such file"]),
    ("run none", &["`none`", "fencepost list"]),
    ("run ./folder", &["./folder", "directory"]),
    ("run ./folder --flat", &["./folder", "directory"]),
    ("run cut.elf", &["cut.elf", "cut short"]),
    ("run short.elf", &["short.elf", "cut short"]),
    ("run arm.elf", &["arm.elf", "another processor"]),
    ("run shared.elf", &["shared.elf", "-static"]),
    ("run dynamic.elf", &["dynamic.elf", "dynamically linked", "-static"]),
    ("run high.elf", &["high.elf", "0x10000000", "--ram"]),
    ("run low.elf", &["low.elf", "0x1000", "link it higher"]),
    ("run empty.bin --flat", &["empty.bin", "empty"]),
    ("run ./text.txt", &["text.txt", "not an ELF file", "--flat"]),
    ("run unsigned.img", &["unsigned.img", "55 aa", "--flat"]),
    ("run stor-buffering", &["stor-buffering", "did you mean `store-buffering`"]),
    ("run stor-buffering/mfence", &["stor-buffering", "did you mean `store-buffering`"]),
    ("run store-buffering/mfense", &["mfense", "did you mean `mfence`"]),
    ("run store-buffering --variant mfense", &["mfense", "did you mean `mfence`"]),
    ("run store-buffering/xchg --variant mfence", &["store-buffering/xchg", "mfence"]),
    ("run store-buffering/xchg words", &["store-buffering/xchg", "words"]),
    ("run good.elf --variant mfence", &["good.elf", "--variant"]),
    // Settings.
    ("run hello --cores 0", &["cores is 0", "1 to 64"]),
    ("run hello --cores 65", &["cores is 65", "1 to 64"]),
    ("run hello --cores many", &["--cores", "many"]),
    ("run hello --model tsa", &["tsa", "tso"]),
    ("run hello --model sc,tso", &["models", "--runs"]),
    ("run hello --depth 0", &["depth is 0"]),
    ("run hello --wc-depth 999", &["wc-depth is 999"]),
    ("run hello --ram 1M", &["ram is 1M"]),
    ("run hello --ram 8388609", &["ram is 8388609", "4096"]),
    ("run hello --ram 8MB", &["--ram", "8MB"]),
    ("run hello --cores 64 --ram 2M", &["hello", "--ram"]),
    ("run hello --slice 0", &["--slice", "0"]),
    ("run hello --until frame", &["frame:N"]),
    ("run hello --until frame:0", &["`0`"]),
    ("run hello --max-steps -1", &["-1"]),
    ("run hello --runs 0", &["--runs", "0"]),
    ("run hello --jobs 2", &["--runs"]),
    ("run hello --runs 2 --seed 18446744073709551615", &["--seed"]),
    ("run hello --runs 2 --record out", &["--record", "--runs"]),
    // Schedules.
    ("run good.elf --schedule none.txt", &["none.txt", "No such file"]),
    ("run good.elf --schedule folder", &["folder", "directory"]),
    #[cfg(unix)]
    ("run good.elf --schedule /dev/zero", &["/dev/zero", "not a regular file"]),
    ("run good.elf --schedule text.txt", &["text.txt", "line 1, column 1", "fencepost-schedule"]),
    ("run good.elf --schedule noise.txt", &["noise.txt", "not text"]),
    ("run good.elf --schedule fencepost-schedule", &["--schedule", "version"]),
    ("run good.elf --schedule other.txt", &["another image", "0000000000000001"]),
    ("run good.elf --schedule many-cores.txt", &["many-cores.txt", "65"]),
    ("run good.elf --schedule impossible.txt", &["choice 1", "9*5"]),
    ("run good.elf --schedule too-long.txt", &["`p`", "after the machine has stopped"]),
    ("run hello --schedule good.txt", &["another image"]),
    ("run good.elf --schedule good.txt --cores 3", &["--cores 3", "2"]),
    ("run good.elf --schedule good.txt --model sc", &["--model sc", "tso"]),
    ("run good.elf --schedule good.txt --seed 1", &["--seed", "--schedule"]),
    ("run good.elf --schedule good.txt words", &["words"]),
    // Outputs.
    ("run hello --record folder", &["folder", "directory"]),
    ("run hello --record none/out.txt", &["none/out.txt", "create it"]),
    ("run hello --record good.elf/out.txt", &["good.elf/out.txt"]),
    ("run hello --screenshot read-only.png", &["read-only.png", "read-only"]),
    ("run hello --trace folder/", &["folder/", "directory"]),
    ("run hello --record -", &["--record"]),
    ("run hello --record out --trace out", &["--record", "--trace", "`out`"]),
    ("run hello --record out --screenshot ./folder/../out", &["--record", "--screenshot", "out"]),
    ("run good.elf --record ./good.elf", &["--record", "good.elf"]),
    ("run good.elf --schedule good.txt --record good.txt", &["--record", "good.txt"]),
    ("run kernel.elf --disk disk.img --screenshot disk.img", &["--screenshot", "disk.img", "read by this very run"]),
    ("run kernel.elf --module module --trace module", &["--trace", "module", "read by this very run"]),
    ("run kernel.elf --frames frames.pcap --capture frames.pcap", &["--capture", "read by this very run"]),
    ("run kernel.elf --input keys.txt --record keys.txt", &["--record", "keys.txt", "read by this very run"]),
    ("run kernel.elf --disk disk.img --commit --record disk.img", &["--record", "read by this very run"]),
    ("explore good.elf --whole --dot good.elf", &["--dot", "good.elf", "read by this very run"]),
    ("run kernel.elf --disk disk.img --disk ./disk.img --commit", &["--commit", "two disks", "disk.img"]),
    ("run boot.img --disk boot.img --commit", &["--commit", "two disks", "boot.img"]),
    #[cfg(unix)]
    ("run kernel.elf --disk disk.img --disk same.img --commit", &["--commit", "two disks", "same.img"]),
    ("run hello --trace - --json", &["--trace -"]),
    // What goes with a guest.
    ("run kernel.elf --disk folder", &["`folder`", "directory"]),
    ("run kernel.elf --module folder", &["`folder`", "directory"]),
    ("run kernel.elf --input folder", &["`folder`", "directory"]),
    ("run kernel.elf --disk huge", &["`huge`", "longer than"]),
    ("run kernel.elf --module huge", &["`huge`", "longer than"]),
    ("run kernel.elf --frames huge", &["`huge`", "longer than"]),
    ("run kernel.elf --input huge", &["`huge`", "longer than"]),
    ("run kernel.elf --disk empty.img", &["`empty.img`", "is empty"]),
    #[cfg(target_os = "linux")]
    ("run kernel.elf --disk pipe", &["`pipe`", "not a regular file"]),
    #[cfg(target_os = "linux")]
    ("run kernel.elf --module pipe", &["`pipe`", "not a regular file"]),
    #[cfg(unix)]
    ("run kernel.elf --frames /dev/zero", &["`/dev/zero`", "not a regular file"]),
    #[cfg(target_os = "linux")]
    ("run kernel.elf --input pipe", &["`pipe`", "not a regular file"]),
    ("run hello --serial --json", &["--serial", "--json"]),
    // The other verbs.
    ("list helo", &["helo", "did you mean `hello`"]),
    ("list hello/plane", &["plane", "did you mean `plain`"]),
    ("check helo", &["helo", "did you mean `hello`"]),
    ("check --model tsa", &["tsa"]),
    ("disasm helo", &["helo", "did you mean `hello`"]),
    ("disasm torn-frame --symbol presentr", &["presentr", "presenter"]),
    ("disasm hello --from 5 --to 9", &["0x5..0x9"]),
    ("disasm hello --from 9 --to 5", &["0x9..0x5"]),
    ("disasm hello --from there", &["there"]),
    ("completions dash", &["dash"]),
    ("rum hello", &["rum", "run"]),
    ("", &["Usage"]),
];

#[test]
fn bad_input_is_refused_with_a_message_and_leaves_nothing_behind() {
    let folder = folder();
    let before = folder.files();
    for (arguments, expected) in CASES {
        let said = folder.run(arguments);
        let context = format!("fencepost {arguments}\n{}", said.stderr);
        assert_eq!(said.code, 2, "{context}");
        assert_eq!(said.stdout, "", "{context}");
        assert!(!said.stderr.contains("panicked"), "{context}");
        for words in *expected {
            assert!(said.stderr.contains(words), "no `{words}` in the message of {context}");
        }
        assert_eq!(folder.files(), before, "{context}");
    }
}

#[test]
fn messages_of_ours_are_one_line() {
    let folder = folder();
    for (arguments, _) in CASES {
        let said = folder.run(arguments);
        if !said.stderr.contains("--help") {
            assert!(said.stderr.starts_with("error: "), "fencepost {arguments}\n{}", said.stderr);
            assert!(said.stderr.lines().count() <= 3, "fencepost {arguments}\n{}", said.stderr);
        }
    }
}
