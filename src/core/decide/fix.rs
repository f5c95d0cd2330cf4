//! What would let a refused request through: in words, and as commands where there are any. Never
//! more than this one request needs.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::describe::{describe_methods, host_prefix};
use super::narrowest::{Choice, Wanted, smallest_plan};
use super::permission::{Scope, permission};
use super::{Barred, Case, NoTrace, id};
use crate::core::facts::CredentialError;
use crate::core::index::{Account, Rules, Token};
use crate::core::ip::IpRules;
use crate::core::permissions::Access;
use crate::core::record::{AccountId, Action, Plan, TokenUser, UserId};
use crate::core::routes::Project;
use crate::core::token::{Malformed, TOKEN_LEN};
use crate::core::verdict::Reason;

/// What would let a request through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// In words.
    pub advice: String,
    /// Commands that do it, in order, as they are typed.
    pub commands: Vec<String>,
}

impl Fix {
    /// One without commands.
    pub fn advice(text: impl Into<String>) -> Self {
        Self { advice: text.into(), commands: Vec::new() }
    }

    fn with(text: impl Into<String>, commands: Vec<String>) -> Self {
        Self { advice: text.into(), commands }
    }
}

/// The account of the path, whose token it should have been.
fn path_account<'c>(case: &Case<'c>) -> Option<Account<'c>> {
    case.index.account(super::path_account(case.facts, case.target)?)
}

/// Step 1.
pub(super) fn credential(case: &Case<'_>, error: CredentialError) -> Fix {
    let advice = match error {
        CredentialError::Missing | CredentialError::Scheme => {
            "the client must send `Authorization: Bearer TOKEN`, once"
        }
        CredentialError::Several => {
            "the client must send the token once, in one header: `Authorization: Bearer TOKEN`"
        }
        CredentialError::Malformed(Malformed::Length | Malformed::Alphabet) => {
            "the client must send the token and nothing else: no quotation marks, no line end"
        }
        CredentialError::Malformed(Malformed::Checksum) => {
            return Fix::with(
                format!(
                    "copy the whole token again, all {TOKEN_LEN} characters of it; where it is \
                     lost, revoke it and make a new one"
                ),
                new_token_of_path(case),
            );
        }
    };
    Fix::advice(advice)
}

/// Step 2, for a secret that no token has.
pub(in crate::core) fn unknown(case: &Case<'_>) -> Fix {
    let commands = new_token_of_path(case);
    let advice = match (commands.is_empty(), path_account(case)) {
        (false, _) => {
            "check which token was sent, and that digest.key has the key it was made under; where \
             it is lost, make a new one"
        }
        (true, Some(_)) => {
            "check which token was sent, and that digest.key has the key it was made under"
        }
        (true, None) => {
            "check which token was sent, and that digest.key has the key it was made under; or \
             make one: `portcullis token create --account N --name NAME --grant SET`"
        }
    };
    Fix::with(advice, commands)
}

fn new_token_of_path(case: &Case<'_>) -> Vec<String> {
    let account = path_account(case);
    account.and_then(|account| New::of(account, "new").commands(case)).unwrap_or_default()
}

/// Step 3.
pub(super) fn validity(case: &Case<'_>, token: &Token<'_>, reason: Reason) -> Fix {
    let advice = match reason {
        Reason::NotYetValid => "wait until then, or make a token that is valid now",
        Reason::Expired => "make a new one, and have the client send that",
        _ => "nothing brings it back: make a new one, and have the client send that",
    };
    Fix::with(advice, New::after(token, case).commands(case).unwrap_or_default())
}

/// Step 4.
pub(super) fn account(case: &Case<'_>, token: &Token<'_>) -> Fix {
    let account = token.account;
    let (mut advice, mut commands) = (Vec::new(), Vec::new());
    if !account.is_open() {
        advice.push("open the account");
        commands.push(open(account.id()));
    }
    if account.plan() == Plan::Cancelled {
        let sets = &case.index.policy().permission_sets;
        let passes = |plan| passes_with(case, token, account.on_plan(plan).view());
        let plan = smallest_plan(sets, passes).or_else(|| smallest_plan(sets, |_| true));
        advice.push("put the account on a plan");
        commands.extend(plan.map(|plan| set_plan(account.id(), plan)));
    }
    Fix::with(advice.join(", and "), commands)
}

/// Whether step 8 would pass if the account were this one.
fn passes_with(case: &Case<'_>, token: &Token<'_>, account: Account<'_>) -> bool {
    permission(case, &Token { account, ..*token }, &mut NoTrace).is_ok()
}

/// Step 5, the account's rules.
pub(super) fn ip_rules(case: &Case<'_>, account: AccountId, rules: Rules<'_>) -> Fix {
    let Some(client) = case.facts.client else { return unknown_address() };
    Fix::with("let this one address in", admit(account, rules, client))
}

/// The commands that let one address in past the rules, whatever other addresses they name.
fn admit(account: AccountId, rules: Rules<'_>, client: IpAddr) -> Vec<String> {
    let host = host_prefix(client);
    let mut commands = Vec::new();
    let mut left = None;
    if rules.matching(client) == Some((Action::Deny, host)) {
        commands.push(format!("portcullis ip-rule remove --account {account} {host}"));
        let others: Vec<(Action, IpNet)> =
            rules.to_vec().into_iter().filter(|rule| rule.1 != host).collect();
        left = Some(IpRules::compile(&others));
    }
    if !left.as_ref().is_some_and(|left| left.admits(Some(client))) {
        commands.push(format!("portcullis ip-rule allow --account {account} {host}"));
    }
    commands
}

/// Step 5, the token's own narrowing.
pub(super) fn allow_ips(case: &Case<'_>, token: &Token<'_>) -> Fix {
    if case.facts.client.is_none() {
        return unknown_address();
    }
    let commands = New::after(token, case).commands(case).unwrap_or_default();
    Fix::with(
        "a token's addresses cannot be changed: make one that may be used from there",
        commands,
    )
}

fn unknown_address() -> Fix {
    Fix::advice(
        "the address of a client of a unix socket cannot be known: have it connect to an address, \
         or the proxy before it be trusted (`[client_ip]`)",
    )
}

/// Step 6.
pub(super) fn route(case: &Case<'_>) -> Fix {
    let (path, method) = (case.facts.path, case.facts.method);
    match case.target.barred {
        Some(Barred::Method) => {
            let methods = describe_methods(case);
            return Fix::advice(format!(
                "send one of {methods}, or add {method} to `methods` of that route in routes.toml; \
                 then `portcullis check`, and reload"
            ));
        }
        Some(Barred::Certificate(_)) => {
            return Fix::advice(
                "the client must connect to `listen_tls` with one of these certificates, or its own \
                 be named in `client_certificate` of that route in routes.toml; then `portcullis \
                 check`, and reload",
            );
        }
        None => {}
    }
    Fix::advice(format!(
        "correct the path, or add a [[route]] for it to routes.toml, with path = \"{path}\", \
         methods = [\"{method}\"] and what it requires; then `portcullis check`, and reload"
    ))
}

/// Step 7.
pub(super) fn account_scope(case: &Case<'_>, token: &Token<'_>, named: &str) -> Fix {
    let own = token.account.id();
    let Some(account) = path_account(case) else {
        return Fix::advice(format!(
            "there is no account {named}: the client must use the path of account {own}"
        ));
    };
    Fix::with(
        format!("use the path of account {own}, or a token of account {named}"),
        New::of(account, "new").commands(case).unwrap_or_default(),
    )
}

/// Step 8, for a route that is for one user.
pub(super) fn own_user(case: &Case<'_>, token: &Token<'_>, named: &str) -> Fix {
    let commands = New::of(token.account, "new").commands(case);
    match commands {
        Some(commands) => {
            let advice = format!(
                "use a personal token of user {named}, if that is a user of account {}",
                token.account.id()
            );
            Fix::with(advice, commands)
        }
        None => Fix::advice("the client must send the number of a user"),
    }
}

/// Step 8.
pub(super) fn lack(
    case: &Case<'_>,
    token: &Token<'_>,
    scope: Result<Scope, Reason>,
    need: Access,
) -> Fix {
    let account = token.account;
    let scope = match scope {
        Ok(scope) => scope,
        Err(Reason::BadRequest) => {
            return Fix::advice("the client must send the parameter once, unencoded");
        }
        Err(_) => return no_project(case, account.id()),
    };
    if let Scope::One { project, .. } = scope
        && passes_with(case, token, account.with_project(project).view())
    {
        let commands = vec![create_project(account.id(), project)];
        return Fix::with(
            format!("if project {project} is the account's, make it known"),
            commands,
        );
    }
    let sets = &case.index.policy().permission_sets;
    if let Some(user) = token.user
        && !sets.licence_bound(user.licence).covers(need)
    {
        let advice = format!(
            "no grant takes a personal token further than its user's licence, {}: use a service \
             token",
            user.licence
        );
        let service = New { user: None, ..New::after(token, case) };
        return Fix::with(advice, service.commands(case).unwrap_or_default());
    }
    let here =
        Wanted::of(case, account).and_then(|wanted| wanted.on_plan(sets, account, account.plan()));
    let on_plan = |plan| passes_with(case, token, account.on_plan(plan).view());
    if here.is_none()
        && let Some(plan) = smallest_plan(sets, on_plan)
    {
        let commands = vec![set_plan(account.id(), plan)];
        return Fix::with("put the account on a plan that allows the token's grants", commands);
    }
    match New::after(token, case).commands(case) {
        Some(commands) => Fix::with("use a token that may, such as a new one", commands),
        None => Fix::advice(
            "no permission set gives this on a service token, whatever the plan: it takes a \
             personal token",
        ),
    }
}

/// A request that does not say which project it is about.
fn no_project(case: &Case<'_>, account: AccountId) -> Fix {
    let route = case.target.route.map(|route| &route.project);
    let Some(Project::Index { index, capture }) = route else {
        return Fix::advice("the client must send a project's number");
    };
    let name = case.index.policy().routes.name_of(*index);
    let text = case.target.captures.text(case.facts.path, *capture);
    Fix::advice(match id(text) {
        Some(id) => format!(
            "check the id; if it is right, say which PROJECT it belongs to: \
             `portcullis id-index set --account {account} {name} {id} PROJECT`"
        ),
        None => "the client must send a number there".to_owned(),
    })
}

/// A token to make.
struct New<'c> {
    account: Account<'c>,
    user: Option<TokenUser>,
    /// The one address that it may be used from.
    from: Option<IpAddr>,
    name: String,
}

impl<'c> New<'c> {
    fn of(account: Account<'c>, name: &str) -> Self {
        Self { account, user: None, from: None, name: name.to_owned() }
    }

    /// One in place of another: of the same user, and narrowed where that one was.
    fn after(token: &Token<'c>, case: &Case<'_>) -> Self {
        Self {
            account: token.account,
            user: token.user,
            from: token.allow_ips.and(case.facts.client),
            name: format!("replaces-{}", token.id),
        }
    }

    /// The commands that make it, with all that it needs; `None` where nothing can give that.
    fn commands(&self, case: &Case<'_>) -> Option<Vec<String>> {
        let account = self.account;
        let wanted = Wanted::of(case, account)?;
        let sets = &case.index.policy().permission_sets;
        let bound = self.user.map(|user| sets.licence_bound(user.licence));
        let bound = bound.or(wanted.user.map(|_| Access::ALL));
        let on_plan = |plan| wanted.on_plan(sets, account, plan);
        let is_enough = |plan| bound.is_some() || on_plan(plan).is_some();
        let plan = match account.plan() {
            plan if plan != Plan::Cancelled && is_enough(plan) => plan,
            _ => smallest_plan(sets, is_enough)?,
        };
        let choice = match bound {
            Some(bound) => wanted.within(sets, account, bound)?,
            None => on_plan(plan)?,
        };
        let mut commands = Vec::new();
        if !account.is_open() {
            commands.push(open(account.id()));
        }
        if plan != account.plan() {
            commands.push(set_plan(account.id(), plan));
        }
        if let (Some(rules), Some(client)) = (account.ip_rules(), case.facts.client)
            && !rules.admits(Some(client))
        {
            commands.extend(admit(account.id(), rules, client));
        }
        commands.extend(choice.unknown_project.map(|id| create_project(account.id(), id)));
        commands.push(self.create(&choice, wanted.user.or(self.user.map(|user| user.id))));
        Some(commands)
    }

    fn create(&self, choice: &Choice, user: Option<UserId>) -> String {
        let (account, name) = (self.account.id(), &self.name);
        let user = user.map(|user| format!(" --user {user}")).unwrap_or_default();
        let grants = choice.grants.join(" ");
        let from = self.from.map(|from| format!(" --allow-ip {}", host_prefix(from)));
        let from = from.unwrap_or_default();
        format!(
            "portcullis token create --account {account}{user} --name {name} --grant {grants}{from}"
        )
    }
}

fn open(account: AccountId) -> String {
    format!("portcullis account open {account}")
}

fn set_plan(account: AccountId, plan: Plan) -> String {
    format!("portcullis account set-plan {account} {plan}")
}

fn create_project(account: AccountId, project: u64) -> String {
    format!("portcullis project create --account {account} --id {project} --name project-{project}")
}
