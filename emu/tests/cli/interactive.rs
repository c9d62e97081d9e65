//! Typing into a machine that runs.

use super::fencepost::{Folder, Said};
use std::io::Write;
use std::process::Stdio;

/// What the command says that is given `input` by a pipe, which then ends.
fn piped(folder: &Folder, arguments: &str, input: &[u8]) -> Said {
    let mut command = folder.command(&arguments.split(' ').collect::<Vec<_>>());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command can be started");
    child.stdin.take().expect("it is piped").write_all(input).expect("the command reads");
    Said::from(child.wait_with_output().expect("the command ends"))
}

/// In real mode: echoes what comes to COM1, adding one to each byte, and exits with 0 after `!`; sleeps in between,
/// for good if nothing comes.
const ECHO: &[u8] = &[
    0xfa, // cli
    0x31, 0xc0, 0x8e, 0xd8, // ds = 0
    0xc7, 0x06, 0x30, 0x00, 0x27, 0x7c, // the vector of IRQ 4, 0c: 0000:7c27
    0xc7, 0x06, 0x32, 0x00, 0x00, 0x00, //
    0xb0, 0xef, 0xe6, 0x21, // only IRQ 4
    0xba, 0xf9, 0x03, 0xb0, 0x01, 0xee, // interrupt when a byte is there
    0x83, 0xc2, 0x03, 0xb0, 0x0b, 0xee, // OUT2 lets interrupts through
    0xfb, 0xf4, 0xeb, 0xfc, // sti; hlt; again
    0x90, 0x90, //
    0xba, 0xf8, 0x03, 0xec, // the handler: read it
    0x3c, 0x21, 0x74, 0x07, // `!` ends
    0x40, 0xee, // one more, and back
    0xb0, 0x20, 0xe6, 0x20, 0xcf, // end of interrupt; iret
    0x30, 0xc0, 0xe6, 0xf4, // exit with 0
];

fn boots(code: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 512];
    disk[..code.len()].copy_from_slice(code);
    disk[510..].copy_from_slice(&[0x55, 0xaa]);
    disk
}

#[test]
fn what_comes_by_a_pipe_goes_to_the_serial_port_and_is_recorded() {
    let folder = Folder::new().with("echo.img", &boots(ECHO));
    let run = "run echo.img --cores 1 --interactive --serial --record run.txt";
    let said = piped(&folder, run, b"HAL!").exits_with(0);
    assert_eq!(said.stdout, "IBM");
    let again = folder.run("run echo.img --schedule run.txt --serial").exits_with(0);
    assert_eq!(again.stdout, "IBM");
}

#[test]
fn a_session_replays_to_the_same_trace() {
    let folder = Folder::new();
    let typed = piped(&folder, "run keyboard/typed --interactive=keys --record run.txt --json", b"hello\x03");
    let typed = typed.exits_with(0).json();
    assert_eq!(typed["outcome"], "^C");
    assert!(typed["serial"].as_str().is_some_and(|serial| serial.contains("hello")), "{typed}");
    let replay = typed["replay"].as_str().expect("it was recorded").to_owned();
    let words: Vec<&str> = replay.split(' ').skip(1).chain(["--json"]).collect();
    let replayed = folder.run_words(&words).exits_with(0).json();
    assert_eq!(replayed["trace_hash"], typed["trace_hash"]);
}

#[test]
fn the_end_of_the_pipe_ends_the_run_that_waits_for_more() {
    let folder = Folder::new().with("echo.img", &boots(ECHO));
    let said = piped(&folder, "run echo.img --cores 1 --interactive", b"ab").exits_with(0);
    assert!(said.stdout == "bc" && said.stderr.contains("waits for input"), "{said:?}");
    assert!(!said.stderr.contains("replay "), "no option says what was typed: {said:?}");
}

#[test]
fn a_replay_has_nobody_to_type() {
    let folder = Folder::new();
    folder.run("run hello --interactive --schedule x").exits_with(2);
    folder.run("run hello --interactive --runs 2").exits_with(2);
    folder.run("run hello --interactive=mouth").exits_with(2);
}

#[cfg(unix)]
mod at_a_terminal {
    use super::*;
    use crate::cli::elf::{Elf, LOOP};
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Termios, tcgetattr};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::process::Child;
    use std::time::{Duration, Instant};

    /// A terminal: where one types, and where a program reads.
    struct Terminal {
        keys: File,
        program: OwnedFd,
    }

    impl Terminal {
        fn new() -> Terminal {
            let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
            grantpt(&keys).and_then(|()| unlockpt(&keys)).expect("it is ours");
            let name = ptsname(&keys, Vec::new()).expect("it has a name");
            let program = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it can be opened");
            Terminal { keys: keys.into(), program }
        }

        fn modes(&self) -> Termios {
            tcgetattr(&self.program).expect("it is a terminal")
        }

        /// The command, once it has taken the terminal over.
        fn start(&self, folder: &Folder, arguments: &str) -> Child {
            let mut command = folder.command(&arguments.split(' ').collect::<Vec<_>>());
            command.stdin(self.program.try_clone().expect("it can be shared"));
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            let began = Instant::now();
            while self.modes().local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG) {
                assert!(began.elapsed() < Duration::from_secs(60), "the terminal is not taken over");
                std::thread::sleep(Duration::from_millis(5));
            }
            child.expect("the command can be started")
        }

        fn is_as(&self, before: &Termios) -> bool {
            let now = self.modes();
            (now.local_modes, now.input_modes, now.output_modes)
                == (before.local_modes, before.input_modes, before.output_modes)
        }
    }

    /// What the terminal shows of the command with these settings, up to and with `end`.
    fn shown(folder: &Folder, arguments: &str, settings: &[(&str, &str)], end: &str) -> String {
        let Terminal { keys: mut screen, program } = Terminal::new();
        let mut command = folder.command(&arguments.split(' ').collect::<Vec<_>>());
        command.env("TERM", "xterm").envs(settings.iter().copied()).stdout(Stdio::null()).stderr(program);
        let mut child = command.spawn().expect("the command can be started");
        // Nobody but the command has the terminal now: it closes when the command ends.
        drop(command);
        let (mut text, mut bytes) = (String::new(), [0; 256]);
        while !text.contains(end) {
            let length = screen.read(&mut bytes).unwrap_or(0);
            assert!(length > 0, "no `{end}` in {text:?}");
            text += &String::from_utf8_lossy(&bytes[..length]);
        }
        child.kill().and_then(|()| child.wait()).expect("it can be ended");
        text
    }

    #[test]
    fn a_long_silent_run_shows_how_far_it_has_come() {
        let folder = Folder::new().with("loop.elf", &Elf::default().file(LOOP));
        let text = shown(&folder, "run loop.elf --max-steps 9000000000", &[], " steps of at most 9,000,000,000");
        assert!(!text.contains("given up"), "it is shown while the run goes on: {text}");
    }

    #[test]
    fn who_wants_no_colours_gets_no_escape_sequence() {
        let folder = Folder::new().with("loop.elf", &Elf::default().file(LOOP));
        let drawn = shown(&folder, "check hello --runs 100", &[], "kept");
        assert!(drawn.contains('\x1b'), "{drawn:?}");
        for setting in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            for (arguments, end) in [
                ("check hello --runs 100", "kept"),
                ("explore dekker/mfence --dot none", "no violation"),
                ("run hello", "replay"),
            ] {
                let text = shown(&folder, arguments, &[setting], end);
                assert!(!text.contains('\x1b'), "{arguments}: {text:?}");
            }
        }
    }

    #[test]
    fn keys_reach_the_guest_and_ctrl_c_is_one() {
        let (folder, mut terminal) = (Folder::new(), Terminal::new());
        let before = terminal.modes();
        let child = terminal.start(&folder, "run keyboard/typed --interactive=keys");
        terminal.keys.write_all(b"hi\x03").expect("it takes keys");
        let said = Said::from(child.wait_with_output().expect("the command ends")).exits_with(0);
        assert!(said.stdout.contains("hi^C"), "{said:?}");
        assert!(said.stderr.contains("Ctrl+] leaves"), "the way out is shown: {said:?}");
        assert!(terminal.is_as(&before), "the terminal is put back");
    }

    #[test]
    fn one_leaves_with_a_key_and_the_session_is_kept() {
        let folder = Folder::new().with("echo.img", &boots(ECHO));
        let mut terminal = Terminal::new();
        let before = terminal.modes();
        let child = terminal.start(&folder, "run echo.img --cores 1 --interactive --record run.txt");
        terminal.keys.write_all(b"\x1d").expect("it takes keys");
        let said = Said::from(child.wait_with_output().expect("the command ends")).exits_with(0);
        assert!(said.stderr.contains("you have left"), "{said:?}");
        assert!(terminal.is_as(&before), "the terminal is put back");
        folder.run("run echo.img --schedule run.txt").exits_with(0);
    }

    #[test]
    fn the_terminal_is_put_back_when_a_signal_ends_the_command() {
        let folder = Folder::new().with("echo.img", &boots(ECHO));
        let terminal = Terminal::new();
        let before = terminal.modes();
        let mut child = terminal.start(&folder, "run echo.img --cores 1 --interactive");
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it can be ended");
        assert!(!child.wait().expect("it ends").success());
        assert!(terminal.is_as(&before), "the terminal is put back");
    }
}
