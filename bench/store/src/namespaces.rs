//! Two processes of one pid, each in a PID namespace of its own: two containers that share the store's folder.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::faults::fill;
use crate::processes::{Place, ends_within};
use crate::table::Table;
use crate::within;

/// Starts a worker in a new namespace, behind so many others that it has the pid 2 + `before` there.
fn spawn(place: &Place, role: &str, before: usize) -> Child {
    let exe = std::env::current_exe().expect("this program's path");
    let script = format!(
        "{}\"$0\" worker {role} \"$1\" \"$2\" \"$3\"; exit $?",
        "/bin/true; ".repeat(before)
    );
    Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "sh", "-c", &script])
        .arg(exe)
        .arg(&place.candidate)
        .arg(&place.folder)
        .arg(place.bytes.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare starts")
}

/// One process stays in a read; others open the store, read and end.
pub fn namespaces(candidate: &str) {
    let mut table = Table::new("PID namespaces", &["while another one has pid 2", ""]);
    within(candidate, 64 << 20, |place| {
        fill(&*place.open());
        let mut first = spawn(place, "pause-read", 0);
        if ends_within(&mut first, Duration::from_millis(200)) {
            println!("\nLeft out: no PID namespace may be made here.");
            return;
        }
        place.await_ready(1);
        let mut row = |name: &str, before| {
            let mut second = spawn(place, "opens", before);
            let ended = ends_within(&mut second, Duration::from_secs(2));
            let status = second.try_wait().ok().flatten();
            let outcome = match status.and_then(|status| status.code()) {
                _ if !ended => "waits for ever",
                Some(0) => "opens and reads",
                Some(1) => "cannot open the store",
                _ => "is killed, or misses",
            };
            second
                .kill()
                .and_then(|()| second.wait().map(drop))
                .expect("a child of ours");
            table.row(vec![name.into(), outcome.into()]);
        };
        row("pid 2 of another namespace", 0);
        row("pid 4 of another namespace", 2);
        first.kill().expect("a child of ours");
        // The pipe ends when the last process of the namespace has: `unshare` itself ends before.
        let mut pipe = first.stdout.take().expect("piped");
        pipe.read_to_end(&mut Vec::new()).expect("a pipe of ours");
        first.wait().expect("a child of ours");
        row("pid 2, after the first has ended", 0);
    });
}

/// The worker: its status is 1 if the store does not open, and 2 if it does not find a key.
pub fn opens(place: &Place) {
    let Ok(store) = crate::candidate::open(&place.candidate, &place.store(), place.bytes) else {
        std::process::exit(1);
    };
    if !store.get(&crate::values::key(0), &mut Vec::new()) {
        std::process::exit(2);
    }
}
