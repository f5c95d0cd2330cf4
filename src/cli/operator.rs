//! Who is at the command line, as the operating system knows it: no variable is believed.

use std::fs::File;
use std::io::Read;

use crate::store::Actor;

/// Most bytes that are read of the list of users.
const USERS_BYTES_LIMIT: u64 = 4 << 20;
/// What the kernel says where nobody logged in, for instance in a container.
const NO_LOGIN: u32 = u32::MAX;

/// The actor for the audit log. Who became another user after logging in is named as well.
pub(super) fn actor() -> Actor {
    let users = read("/etc/passwd");
    let uid = rustix::process::getuid().as_raw();
    let login = read("/proc/self/loginuid").trim().parse().unwrap_or(NO_LOGIN);
    Actor::person(uid, describe(&users, uid, login))
}

fn describe(users: &str, uid: u32, login: u32) -> String {
    let user = name(users, uid);
    if login == NO_LOGIN || login == uid {
        user
    } else {
        format!("{} as {user}", name(users, login))
    }
}

/// The name of a user in `passwd(5)`'s format.
fn name(users: &str, uid: u32) -> String {
    let known = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    known.unwrap_or_else(|| format!("uid {uid}"))
}

/// The beginning of a file; nothing where it cannot be read, since an id says enough.
fn read(path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(USERS_BYTES_LIMIT).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_and_so_is_whoever_became_one() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(describe(users, 0, NO_LOGIN), "root");
        assert_eq!(describe(users, 1000, 1000), "ann");
        assert_eq!(describe(users, 0, 1000), "ann as root");
        assert_eq!(describe(users, 65_532, NO_LOGIN), "uid 65532");
    }
}
