//! The slow lane as a process of its own: what it answers, and what becomes of requests while it is
//! gone, full, or somebody else.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::home::portcullis;
use crate::support::lane::Lane;
use crate::support::world::{JOBS, SERVICE, legacy_line, token_line};
use crate::support::{Gate, Home, Request, Response, Upstream, eventually, within};

const ACCOUNT: &str = r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}
"#;
const OLD: &str = "legacy-secret-0001";
const OTHER: &str = "legacy-secret-0002";
const GREETING: &[u8] = b"portcullis lane 1\n";
/// What Django makes, of no secret.
const COSTLY: &str = "pbkdf2_sha256$1000000$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A home whose gates ask a lane of its own.
fn home(lines: &str) -> (Home, Upstream) {
    let upstream = Upstream::start();
    let mut home = Home::empty();
    home.forward_to(upstream.address()).set("legacy", "cpu_share", "1.0");
    home.set("legacy", "deadline", r#""60s""#);
    Lane::configure(&mut home);
    let fast = token_line("fast", &format!(r#""token":"{SERVICE}""#));
    home.import(&format!("{ACCOUNT}{fast}{lines}"));
    (home, upstream)
}

fn line(name: &str, secret: &str) -> String {
    let hash = bcrypt::hash(secret, 4).unwrap();
    legacy_line(name, &format!(r#""hash":"{hash}","selector":"{}""#, &secret[..8]))
}

fn costly_line(name: &str, selector: &str) -> String {
    legacy_line(name, &format!(r#""hash":"{COSTLY}","selector":"{selector}""#))
}

fn up(gate: &Gate) -> f64 {
    gate.metrics().value("portcullis_legacy_lane_up")
}

/// Waits until one question is on its way to the lane, or there.
fn wait_under_way(gate: &Gate) {
    eventually("it is under way", || {
        (gate.metrics().value("portcullis_legacy_queue_depth") == 1.0).then_some(())
    });
}

fn wait_up(gate: &Gate) {
    eventually("the lane is reached", || (up(gate) == 1.0).then_some(()));
}

#[track_caller]
fn assert_unavailable(response: &Response) {
    assert_eq!(response.status, 503, "{response:?}");
    assert!(response.text().contains("Service unavailable."), "{response:?}");
    assert!(response.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

/// The threads of a process, by name.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|task| Some(name(task.ok()?)?.trim().to_owned())).collect()
}

#[test]
fn it_answers_as_threads_of_the_gate_do() {
    let shared = [line("a", "shared-secret-000a"), line("b", "shared-secret-000b")].concat();
    let django = bcrypt::hash("django-secret-0001", 4).unwrap();
    let django = legacy_line("d", &format!(r#""hash":"bcrypt${django}","selector":"django""#));
    let revoked = line("revoked", "revoked-secret-001");
    let revoked = revoked.replace(r#""name""#, r#""state":"revoked","name""#);
    let (home, _upstream) = home(&[line("old", OLD), shared, django, revoked].concat());
    let lane = Lane::start(&home);
    let remote = Gate::start(&home);
    wait_up(&remote);
    // A file of its own, since the others would take changes of theirs over.
    let settings = fs::read_to_string(home.path("portcullis.toml")).unwrap();
    home.write("own.toml", &settings.replace("socket = \"unix:lane.sock\"\n", ""));
    let mut command = portcullis();
    command.arg("-c").arg(home.path("own.toml"));
    let own = Gate::launch_as(command, &[], &home);
    own.wait_ready();
    let secrets = [
        (OLD, 200),
        (OLD, 200),
        (OTHER, 401),
        (OTHER, 401),
        ("shared-secret-000b", 200),
        ("shared-secret-000a", 200),
        ("shared-secret-000c", 401),
        ("django-secret-0001", 200),
        ("django-secret-0002", 401),
        ("revoked-secret-001", 401),
        ("unknown-secret-001", 401),
    ];
    for (secret, status) in secrets {
        for gate in [&own, &remote] {
            let response = gate.get(JOBS, secret);
            assert_eq!(response.status, status, "{secret}");
            let notice = (status == 200).then_some("legacy-token");
            assert_eq!(response.header("x-portcullis-notice"), notice, "{secret}");
        }
    }
    let hashes = "portcullis_legacy_verify_duration_seconds_count";
    for (reason, count) in [("allow", 5.0), ("legacy_mismatch", 4.0), ("unknown_token", 2.0)] {
        own.expect_decisions(reason, count);
        remote.expect_decisions(reason, count);
    }
    assert_eq!(own.metrics().value(hashes), remote.metrics().value(hashes));
    assert_eq!(lane.metrics().value(hashes), remote.metrics().value(hashes));
    assert!(remote.metrics().value("portcullis_legacy_cpu_seconds_total") > 0.0);
    let hashing = |gate: &Gate| threads(gate.id()).iter().any(|name| name.starts_with("legacy-"));
    assert!(hashing(&own) && !hashing(&remote), "the gate itself does not hash");
}

#[test]
fn while_it_is_gone_only_legacy_tokens_that_are_not_remembered_are_refused() {
    let (home, _upstream) = home(&[line("old", OLD), line("other", OTHER)].concat());
    let mut lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    assert_eq!(gate.status(JOBS, OLD), 200);
    lane.signal(Signal::KILL);
    lane.wait_end();
    eventually("the gate notices", || (up(&gate) == 0.0).then_some(()));
    for _ in 0..3 {
        assert_eq!(gate.status(JOBS, SERVICE), 200);
        assert_eq!(gate.status(JOBS, OLD), 200, "it is remembered");
        assert_unavailable(&gate.get(JOBS, OTHER));
        // Nor is a wrong one said to be wrong.
        assert_unavailable(&gate.get(JOBS, "legacy-secret-0003"));
    }
    let ready = gate.admin_get("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("the slow lane does not answer"), "{}", ready.text());
    let _lane = Lane::start(&home);
    wait_up(&gate);
    assert_eq!(gate.status(JOBS, OTHER), 200);
    assert_eq!(gate.status(JOBS, "legacy-secret-0003"), 401);
    assert_eq!(gate.admin_get("/readyz").text(), "ready\n");
}

#[test]
fn a_request_under_way_is_unavailable_where_it_is_killed() {
    let (home, _upstream) = home(&costly_line("slow", "slowtok"));
    let mut lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    let mut connection = gate.connect();
    connection.write(&Request::get(JOBS).token("slowtok-number-0001").bytes());
    wait_under_way(&gate);
    lane.signal(Signal::KILL);
    lane.wait_end();
    assert_unavailable(&connection.response());
    gate.expect_one_decision("lane_timeout");
}

/// Listens at the socket as somebody else would, and says this to everybody who connects.
fn impostor(home: &Home, says: Vec<u8>) -> std::thread::JoinHandle<()> {
    let path = home.path("lane.sock");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The gate may be gone before all is said.
        let _ = stream.write_all(&says);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// A frame with its length before it.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_le_bytes(), payload].concat()
}

#[test]
fn whoever_else_listens_there_is_not_believed() {
    let (home, _upstream) = home(&line("old", OLD));
    let gate = Gate::start(&home);
    let greeted = |frames: &[u8]| [GREETING, frames].concat();
    let huge = u32::MAX.to_le_bytes();
    let alive = frame(&[2, 0]);
    let sayings = [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        b"portcullis lane 9\n".to_vec(),
        greeted(&huge),
        greeted(&frame(b"")),
        greeted(&frame(b"\x07garbage")),
        greeted(&[0xff; 4096]),
        // A match that is cut off, and one at a position that there cannot be.
        greeted(&[alive.clone(), frame(&[1, 0, 1, 0])].concat()),
        greeted(&[alive, frame(&[1, 0, 1, 16, 5, 0, 1, 5, 1, 5])].concat()),
    ];
    for says in sayings {
        let impostor = impostor(&home, says);
        eventually("the gate turns away", || {
            assert_unavailable(&gate.get(JOBS, OLD));
            impostor.is_finished().then_some(())
        });
        assert_eq!(gate.status(JOBS, SERVICE), 200);
        fs::remove_file(home.path("lane.sock")).unwrap();
    }
    gate.wait_for_log("is not a slow lane of this version");
}

#[test]
fn an_answer_about_a_hash_that_was_not_sent_is_no_answer() {
    let (home, _upstream) = home(&line("old", OLD));
    let path = home.path("lane.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gate = Gate::start(&home);
    let mut connection = gate.connect();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(GREETING).unwrap();
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).unwrap();
    wait_up(&gate);
    connection.write(&Request::get(JOBS).token(OLD).bytes());
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut question = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut question).unwrap();
    assert!(crate::support::client::find(&question, OLD.as_bytes()).is_some());
    // That the second of one hash matched.
    stream.write_all(&frame(&[1, question[1], 1, 1, 5, 0, 1, 5, 1, 5])).unwrap();
    assert_unavailable(&connection.response());
    gate.wait_for_log("an answer is about more than was asked");
}

#[test]
fn what_its_queue_cannot_hold_is_turned_away_and_others_do_not_notice() {
    let (mut home, _upstream) = home(&costly_line("slow", "slowtok"));
    home.set("legacy", "queue_limit", "2");
    let lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    let mut connections: Vec<_> = (0..4).map(|_| gate.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.write(&Request::get(JOBS).token(&format!("slowtok-number-{number:04}")).bytes());
    }
    eventually("some are turned away", || {
        (gate.metrics().decisions("lane_full") >= 2.0).then_some(())
    });
    let mut fast = gate.connect();
    assert_eq!(fast.send(&Request::get(JOBS).token(SERVICE)).status, 200);
    let answers: Vec<_> = connections.iter_mut().map(|one| one.response()).collect();
    let (full, others): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 503);
    // One account has half of the places, and one more is being hashed, sooner or later.
    assert!((2..=3).contains(&full.len()), "{}", full.len());
    assert!(others.iter().all(|one| one.status == 401));
    let shed = full.len() as f64;
    assert_eq!(lane.metrics().value("portcullis_legacy_shed_total"), shed);
    assert_eq!(gate.metrics().value("portcullis_legacy_shed_total"), shed);
    full.into_iter().for_each(assert_unavailable);
}

#[test]
fn what_was_asked_before_sigterm_is_answered_and_then_it_ends() {
    let (home, _upstream) = home(&[costly_line("slow", "slowtok"), line("old", OLD)].concat());
    let mut lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    let mut connection = gate.connect();
    connection.write(&Request::get(JOBS).token("slowtok-number-0001").bytes());
    wait_under_way(&gate);
    lane.signal(Signal::TERM);
    lane.wait_for_log("draining");
    assert_unavailable(&gate.get(JOBS, OLD));
    assert_eq!(connection.response().status, 401);
    assert!(lane.wait_end().success());
    assert!(!home.path("lane.sock").exists());
    gate.expect_one_decision("legacy_mismatch");
}

#[test]
fn a_token_that_is_revoked_while_it_is_hashed_is_refused() {
    let before: String =
        (0..3).map(|number| costly_line(&format!("{number}"), "legacy-s")).collect();
    let (home, _upstream) = home(&[before, line("old", OLD)].concat());
    let _lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    let id = home.token_id("old").to_string();
    let mut connection = gate.connect();
    connection.write(&Request::get(JOBS).token(OLD).bytes());
    wait_under_way(&gate);
    home.run(&["token", "revoke", &id]);
    assert_eq!(connection.response().status, 401);
    gate.expect_one_decision("revoked");
}

#[test]
fn only_processes_of_the_same_user_are_let_in() {
    let (home, _upstream) = home("");
    let lane = Lane::start(&home);
    let socket = home.path("lane.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut own = UnixStream::connect(&socket).unwrap();
    own.write_all(GREETING).unwrap();
    let mut greeting = [0; GREETING.len()];
    own.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, GREETING);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Another user, and no mode in the way.
    for (path, mode) in [(home.folder(), 0o711), (socket.as_path(), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let ask = "import socket, sys\nconnection = socket.socket(socket.AF_UNIX)\n\
               connection.connect(sys.argv[1])\nprint(connection.recv(1))";
    let mut stranger = std::process::Command::new("python3");
    stranger.arg("-c").arg(ask).arg(&socket).uid(65_534);
    let output = stranger.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "b''", "{output:?}");
    lane.wait_for_log("neither this one's nor root");
}

#[test]
fn a_malformed_question_ends_the_connection_and_nothing_else() {
    let (home, _upstream) = home(&line("old", OLD));
    let lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    for wrong in [vec![0xff; 64], frame(&[9]), frame(&[1, 0]), frame(&[2, 0, 0])] {
        let mut stream = UnixStream::connect(home.path("lane.sock")).unwrap();
        stream.write_all(&[GREETING, &wrong].concat()).unwrap();
        // Reset, where not all was read.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    lane.wait_for_log("a gate's connection was ended");
    assert_eq!(gate.status(JOBS, OLD), 200);
}

#[test]
fn it_takes_over_changed_settings_and_says_what_waits_for_a_restart() {
    let (mut home, _upstream) = home(&line("old", OLD));
    let lane = Lane::start(&home);
    home.set("legacy", "threads", "2");
    lane.wait_for_log("configuration reloaded");
    home.set("legacy", "threads", "0");
    let refused = lane.admin(&Request::new("POST", "/reload"));
    assert!(refused.text().contains("must be from 1 to 256"), "{}", refused.text());
    home.set("legacy", "threads", "1").set("legacy", "socket", r#""unix:elsewhere.sock""#);
    let reloaded = lane.admin(&Request::new("POST", "/reload"));
    assert!(reloaded.text().contains("need a restart: legacy.socket"), "{}", reloaded.text());
    assert_eq!(lane.admin(&Request::get("/readyz")).text(), "ready\n");
    assert_eq!(lane.admin(&Request::new("POST", "/explain")).status, 404);
    home.set("legacy", "socket", r#""unix:lane.sock""#);
    let gate = Gate::start(&home);
    wait_up(&gate);
    assert_eq!(gate.status(JOBS, OLD), 200);
}

#[test]
fn it_needs_a_socket_and_neither_keys_nor_secrets() {
    let mut home = Home::empty();
    home.set("legacy", "threads", "1");
    let done = home.attempt(&["lane"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("[legacy] `socket` is required"), "{done:?}");
    let line = fs::read_to_string(home.path("portcullis.toml")).unwrap();
    let line = line.lines().position(|line| line == "[legacy]").unwrap() + 1;
    assert!(done.stderr.contains(&format!("portcullis.toml:{line}")), "{line}: {done:?}");
    Lane::configure(&mut home);
    for file in ["digest.key", "portcullis.db", "routes.toml"] {
        fs::remove_file(home.path(file)).unwrap();
    }
    let mut lane = Lane::start(&home);
    lane.signal(Signal::TERM);
    assert!(lane.wait_end().success());
}

#[test]
fn who_goes_away_leaves_their_place_to_others() {
    let (mut home, _upstream) = home(&[costly_line("slow", "slowtok"), line("old", OLD)].concat());
    home.set("legacy", "queue_limit", "2");
    let _lane = Lane::start(&home);
    let gate = Gate::start(&home);
    wait_up(&gate);
    let mut first = gate.connect();
    first.write(&Request::get(JOBS).token("slowtok-number-0001").bytes());
    for number in 2..40 {
        let mut connection = gate.connect();
        connection.write(&Request::get(JOBS).token(&format!("slowtok-number-{number:04}")).bytes());
    }
    within(Duration::from_secs(15), "there is a place", || {
        (gate.status(JOBS, OLD) == 200).then_some(())
    });
}
