//! What the process takes from itself: core files and the messages of panics, which could hold
//! secrets, and the low default limit on open files.

use std::backtrace::Backtrace;
use std::io::Write;
use std::panic::PanicHookInfo;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Forbids core files and attaching debuggers, and raises the limit on open files to what is
/// allowed. What the system refuses is logged and gone without.
pub fn harden() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core files cannot be forbidden by the process");
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core files cannot be limited to nothing");
    }
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
}

/// Has a panic say where it was and nothing more: its message may hold a part of a request, such
/// as a text that was cut in the wrong place.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(tell_of_panic));
}

fn tell_of_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let backtrace = Backtrace::capture();
    let text = format!(
        "panicked at {place} in thread {thread}: a defect of this program; the message is left out, \
         as it may hold a secret"
    );
    if tracing::dispatcher::has_been_set() {
        tracing::error!(%backtrace, "{text}");
    } else {
        // There is nobody else to tell.
        let _ = writeln!(std::io::stderr(), "portcullis: {text}\n{backtrace}");
    }
}
