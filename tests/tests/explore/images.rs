//! Litmus tests as guest images: the machine itself gives each of their final states.

use super::guests::{outcomes, survey, surveyor};
use fencepost::explorer::Limits;
use fencepost::litmus::{Pool, image, parse};
use fencepost::loader::Image;
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::testbench::Testbench;

/// Tests that between them use every kind of place and operation.
const TESTS: [&str; 5] = [
    "X86_64 SB\n{ uint64_t x; uint64_t y; }\n P0 | P1 ;\n movq $1,(x) | movq $1,(y) ;\n movq (y),%rax | movq (x),%rax ;\nexists (0:rax=0 /\\ 1:rax=0)",
    "X86_64 MP+nt\n{ uint64_t x; uint64_t y; 0:rcx=7; }\n P0 | P1 ;\n movnti %rcx,(x) | movq (y),%rax ;\n movq $1,(y) | movq (x),%rbx ;\nexists (1:rax=1 /\\ 1:rbx=0)",
    "X86 CAS\n{ x=-1; 0:EAX=-1; 1:EAX=-1; }\n P0 | P1 ;\n MOV ECX,$1 | MOV ECX,$2 ;\n LOCK CMPXCHG [x],ECX | LOCK CMPXCHG [x],ECX ;\nlocations [0:EAX; 1:EAX;]\nexists (x=1)",
    "X86_64 unlocked\n{ int x; }\n P0 | P1 ;\n incl (x) | incl (x) ;\nexists (x=1)",
    "X86_64 wait\n{ uint8_t x; int16_t y; }\n P0 | P1 ;\n movw $-2,(y) | L: cmpb $1,(x) ;\n movb $1,(x) | jne L ;\n | movw (y),%ax ;\nlocations [1:ax; y;]\nforall (y=-2)",
];

#[test]
fn each_state_s_schedule_replays_on_the_image_and_gives_that_state() {
    for source in TESTS {
        let test = parse::parse(source).expect("it is a litmus test");
        let bytes = image::image(&test).expect("it can be assembled");
        let image = Image::from_elf(test.name.clone(), bytes).expect("it is an executable");
        let settings = Settings { cores: test.threads.len() as u8, ..Settings::default() };
        let mut guest = surveyor(image.clone(), settings, false).expect("it has a region");
        let mut pool = Pool::new();
        let ready = pool.prepare(&test).expect("it can be assembled");
        for model in MemoryModel::ALL {
            let states = pool.explore(&ready, &test, model, &Limits::default()).states;
            let survey = survey(&mut guest, model);
            assert_eq!(outcomes(&survey), states, "{} {model}", test.name);
            for (state, reached) in &survey.outcomes {
                let bench = Testbench::image(image.clone()).schedule(reached.schedule.clone()).expect("of this image");
                let run = bench.run().expect("the schedule fits");
                assert_eq!(run.outcome(), Some(state.to_string().as_str()), "{} {model}", test.name);
            }
        }
    }
}
