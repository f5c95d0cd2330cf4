//! Three operators who run one command after another, until they are killed.

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Scope;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

use super::facts::{Facts, Probe};
use crate::support::world::{FOREIGN, NARROW, token_line};
use crate::support::{Draw, Home};

/// Lines of an import that is told to gates change by change, and of one that they take a snapshot of.
const IMPORT_LINES: [usize; 2] = [60, 1_200];

/// The writers, and what they have got done.
pub struct Writers<'a> {
    home: &'a Home,
    facts: &'a Facts,
    /// Commands that ended well.
    pub acknowledged: AtomicUsize,
    cut_off: AtomicUsize,
    operators: [Mutex<Operator>; 3],
    running: [Mutex<Running>; 3],
}

/// Whether a writer may begin a command, and the one that it is at.
#[derive(Default)]
struct Running {
    stopped: bool,
    command: Option<Pid>,
}

/// What one writer knows. No two of them change the same things.
struct Operator {
    number: usize,
    draw: Draw,
    /// Tokens that were made and perhaps not revoked: number and fact.
    tokens: Vec<(u64, usize)>,
    /// What can be done and undone again and again.
    switches: Vec<Switch>,
    /// An import that was cut off: file and facts.
    import: Option<(String, Vec<usize>)>,
    made: usize,
}

/// Two commands that undo each other, and what shows which was the last.
struct Switch {
    fact: usize,
    on: (Vec<String>, u16),
    off: (Vec<String>, u16),
}

impl<'a> Writers<'a> {
    pub fn new(home: &'a Home, facts: &'a Facts, seed: u64) -> Self {
        let operator = |number: usize| {
            let switches = if number == 1 { switches(facts) } else { Vec::new() };
            let draw = Draw(seed ^ (number as u64 + 1) << 32);
            Mutex::new(Operator { number, draw, tokens: vec![], switches, import: None, made: 0 })
        };
        Self {
            home,
            facts,
            acknowledged: AtomicUsize::new(0),
            cut_off: AtomicUsize::new(0),
            operators: [0, 1, 2].map(operator),
            running: Default::default(),
        }
    }

    /// Starts all of them.
    pub fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        for (operator, running) in self.operators.iter().zip(&self.running) {
            running.lock().unwrap().stopped = false;
            scope.spawn(move || {
                let mut operator = operator.lock().unwrap();
                while self.work(&mut operator).is_some() {}
            });
        }
    }

    /// Kills the commands that run, and lets nobody begin another.
    pub fn kill(&self) {
        for running in &self.running {
            let mut running = running.lock().unwrap();
            running.stopped = true;
            if let Some(command) = running.command {
                kill_process(command, Signal::KILL).unwrap();
            }
        }
    }

    /// Commands that were killed.
    pub fn cut_off(&self) -> usize {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// One piece of work; nothing once the writer is to stop.
    fn work(&self, operator: &mut Operator) -> Option<()> {
        match (operator.number, operator.draw.below(4)) {
            (0, 0 | 1) => self.create(operator, &["--grant", "job_admin"]),
            (0, 2) => self.revoke(operator),
            (0, _) => self.rotate(operator),
            (1, 0) => self.user(operator),
            (1, _) => self.switch(operator),
            _ => self.import(operator),
        }
    }

    fn create(&self, operator: &mut Operator, more: &[&str]) -> Option<()> {
        let create = ["token", "create", "--account", "1", "--name", "made"];
        let made = self.run(operator, &[&create[..], more].concat())??;
        self.note_token(operator, &made);
        Some(())
    }

    fn note_token(&self, operator: &mut Operator, made: &Value) {
        let id = made["id"].as_u64().unwrap();
        let probe = Probe::new("/me/", made["token"].as_str().unwrap());
        operator.tokens.push((id, self.facts.add(format!("token {id}"), probe, 200)));
    }

    /// Revokes a token, perhaps one whose revocation was cut off before.
    fn revoke(&self, operator: &mut Operator) -> Option<()> {
        let Some((id, fact)) = self.any_token(operator) else { return Some(()) };
        self.facts.may_become(fact, 401);
        self.run(operator, &["token", "revoke", &id.to_string()])??;
        self.facts.is(fact, 401);
        operator.tokens.retain(|(known, _)| *known != id);
        Some(())
    }

    /// Makes a successor and ends the old one at once.
    fn rotate(&self, operator: &mut Operator) -> Option<()> {
        let Some((id, fact)) = self.any_token(operator) else { return Some(()) };
        self.facts.may_become(fact, 401);
        operator.tokens.retain(|(known, _)| *known != id);
        let made = self.run(operator, &["token", "rotate", &id.to_string(), "--grace", "0s"])?;
        // One that was rotated or revoked by a command that was cut off is refused.
        if let Some(made) = made {
            self.facts.is(fact, 401);
            self.note_token(operator, &made);
        }
        Some(())
    }

    fn any_token(&self, operator: &mut Operator) -> Option<(u64, usize)> {
        let count = operator.tokens.len();
        (count > 0).then(|| operator.tokens[operator.draw.below(count)])
    }

    /// A user with a personal token, which goes when the user does.
    fn user(&self, operator: &mut Operator) -> Option<()> {
        operator.made += 1;
        let id = (1_000 + operator.made).to_string();
        let create = ["user", "create", "--account", "1", "--id", &id, "--name", "x"];
        self.run(operator, &[&create[..], &["--licence", "developer"]].concat())??;
        self.create(operator, &["--user", &id, "--grant", "developer"])?;
        let Some((_, fact)) = operator.tokens.pop() else { return Some(()) };
        self.facts.may_become(fact, 401);
        self.run(operator, &["user", "remove", "--account", "1", &id])??;
        self.facts.is(fact, 401);
        Some(())
    }

    fn switch(&self, operator: &mut Operator) -> Option<()> {
        let position = operator.draw.below(operator.switches.len());
        let Switch { fact, on, off } = &operator.switches[position];
        let (command, status) = if self.facts.found(*fact) == on.1 { off } else { on };
        let (fact, command, status) = (*fact, command.clone(), *status);
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        self.facts.may_become(fact, status);
        self.run(operator, &arguments)??;
        self.facts.is(fact, status);
        Some(())
    }

    /// Imports a file, or the one before it again, which was cut off.
    fn import(&self, operator: &mut Operator) -> Option<()> {
        let (file, facts) = match operator.import.clone() {
            Some(again) => again,
            None => self.new_import(operator),
        };
        operator.import = Some((file.clone(), facts.clone()));
        facts.iter().for_each(|fact| self.facts.may_become(*fact, 200));
        let path = self.home.path(&file);
        self.run(operator, &["import", path.to_str().unwrap()])??;
        facts.iter().for_each(|fact| self.facts.is(*fact, 200));
        operator.import = None;
        Some(())
    }

    /// A file of tokens that nobody knows yet; facts about some of them.
    fn new_import(&self, operator: &mut Operator) -> (String, Vec<usize>) {
        operator.made += 1;
        let number = operator.made;
        let lines = IMPORT_LINES[operator.draw.below(2)];
        let secret = |line: usize| format!("imported-{number:04}-{line:06}");
        let line = |line| token_line("imported", &format!(r#""token":"{}""#, secret(line)));
        let file = format!("import-{number}.jsonl");
        self.home.write(&file, &(0..lines).map(line).collect::<String>());
        let known = [0, 1, lines / 3, lines / 2, lines - 2, lines - 1].map(|line| {
            let what = format!("line {line} of import {number}");
            self.facts.add(what, Probe::new("/me/", secret(line)), 401)
        });
        (file, known.into())
    }

    /// Runs a command. The outer `None`: it was killed or not begun. The inner: it was refused.
    /// What it printed, where it ended well.
    fn run(&self, operator: &Operator, arguments: &[&str]) -> Option<Option<Value>> {
        let slot = &self.running[operator.number];
        let child = self.spawn(slot, arguments)?;
        let pid = Pid::from_child(&child);
        // Not reaped before it is out of the slot: nobody may kill another of the same number.
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        slot.lock().unwrap().command = None;
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            return Some(Some(serde_json::from_slice(&output.stdout).unwrap_or_default()));
        }
        if output.status.code().is_none() {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("already") || said.contains("revoked"), "{arguments:?}: {said}");
        Some(None)
    }

    fn spawn(&self, slot: &Mutex<Running>, arguments: &[&str]) -> Option<Child> {
        let mut running = slot.lock().unwrap();
        if running.stopped {
            return None;
        }
        let mut command = self.home.command();
        command.args(arguments).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        running.command = Some(Pid::from_child(&child));
        Some(child)
    }
}

/// What is done and undone: plan, state, IP rules and id-index rows of accounts.
fn switches(facts: &Facts) -> Vec<Switch> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let switch = |what: &str, probe: Probe, on: (&str, u16), off: (&str, u16)| Switch {
        fact: facts.add(what, probe, off.1),
        on: (words(on.0), on.1),
        off: (words(off.0), off.1),
    };
    let mut switches = vec![
        switch(
            "the plan of account 4",
            Probe::new("/api/v2/accounts/4/jobs/", "service-token-of-account-4"),
            ("account set-plan 4 developer", 403),
            ("account set-plan 4 enterprise", 200),
        ),
        switch(
            "whether account 5 is open",
            Probe::new("/me/", "service-token-of-account-5"),
            ("account close 5", 403),
            ("account open 5", 200),
        ),
    ];
    for number in 0..6 {
        let rule = format!("--account 2 10.{number}.0.0/16");
        switches.push(switch(
            &format!("IP rule {number}"),
            Probe::new("/me/", FOREIGN).from(format!("10.{number}.2.3")),
            (&format!("ip-rule deny {rule}"), 403),
            (&format!("ip-rule remove {rule}"), 200),
        ));
        let job = 500 + number;
        switches.push(switch(
            &format!("the project of job {job}"),
            Probe::new(format!("/api/v2/accounts/1/jobs/{job}/"), NARROW),
            (&format!("id-index set --account 1 job_id {job} 10"), 200),
            (&format!("id-index remove --account 1 job_id {job}"), 403),
        ));
    }
    switches
}
