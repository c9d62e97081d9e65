//! loom 0.7 and shuttle 0.9 (exhaustive depth-first search) on the same algorithms.

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicU64, Ordering as StdOrdering};
use std::time::Instant;

pub(crate) fn print() {
    println!("peers on the same algorithms, in the same run:");
    let executions = StdArc::new(AtomicU64::new(0));
    let counted = |name: &str, run: &dyn Fn()| {
        executions.store(0, StdOrdering::Relaxed);
        let began = Instant::now();
        run();
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        println!("  {name:36} {:8} executions, {milliseconds:10.3} ms", executions.load(StdOrdering::Relaxed));
    };
    let count = || {
        let executions = StdArc::clone(&executions);
        move || _ = executions.fetch_add(1, StdOrdering::Relaxed)
    };
    counted("loom SB", &|| {
        let count = count();
        loom::model(move || {
            count();
            loom_sb();
        });
    });
    counted("loom 3 threads x 2 increments", &|| {
        let count = count();
        loom::model(move || {
            count();
            loom_counter(3, 2);
        });
    });
    counted("shuttle SB (its model is SC)", &|| {
        let count = count();
        shuttle::check_dfs(
            move || {
                count();
                shuttle_sb();
            },
            None,
        );
    });
    counted("shuttle 3 threads x 2 increments", &|| {
        let count = count();
        shuttle::check_dfs(
            move || {
                count();
                shuttle_counter(3, 2);
            },
            None,
        );
    });
}

fn loom_sb() {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    let (x, y) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (x2, y2) = (Arc::clone(&x), Arc::clone(&y));
    let other = loom::thread::spawn(move || {
        y2.store(1, Relaxed);
        x2.load(Relaxed)
    });
    x.store(1, Relaxed);
    let _ = (y.load(Relaxed), other.join());
}

fn loom_counter(threads: usize, operations: usize) {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let counter = Arc::new(AtomicUsize::new(0));
    let spawned: Vec<_> = (0..threads)
        .map(|_| {
            let counter = Arc::clone(&counter);
            loom::thread::spawn(move || (0..operations).for_each(|_| _ = counter.fetch_add(1, SeqCst)))
        })
        .collect();
    spawned.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
    assert_eq!(counter.load(SeqCst), threads * operations);
}

fn shuttle_sb() {
    use shuttle::sync::Arc;
    use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (x, y) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (x2, y2) = (Arc::clone(&x), Arc::clone(&y));
    let other = shuttle::thread::spawn(move || {
        y2.store(1, SeqCst);
        x2.load(SeqCst)
    });
    x.store(1, SeqCst);
    let _ = (y.load(SeqCst), other.join());
}

fn shuttle_counter(threads: usize, operations: usize) {
    use shuttle::sync::Arc;
    use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let counter = Arc::new(AtomicUsize::new(0));
    let spawned: Vec<_> = (0..threads)
        .map(|_| {
            let counter = Arc::clone(&counter);
            shuttle::thread::spawn(move || (0..operations).for_each(|_| _ = counter.fetch_add(1, SeqCst)))
        })
        .collect();
    spawned.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
    assert_eq!(counter.load(SeqCst), threads * operations);
}
