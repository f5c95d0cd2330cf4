//! Whole configurations, right and wrong.

mod samples;
mod support;
mod wrong;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use support::{Folder, ROUTES};

use super::{ClientIpHeader, Endpoint, LimitGroup, Listen, Origin, Rate, Upgrade};
use crate::core::record::Timestamp;

fn tcp(address: &str) -> Listen {
    Listen::Tcp(address.parse::<SocketAddr>().unwrap())
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let folder = Folder::minimal();
    let config = folder.load(&[]).unwrap();
    assert_eq!(config.gate.listen, [tcp("127.0.0.1:8080")]);
    assert_eq!((config.gate.workers, config.gate.conceal), (0, false));
    assert!(!config.gate.forward_credential && config.gate.credential_headers.is_empty());
    assert_eq!(config.gate.drain_delay, Duration::ZERO);
    assert_eq!(config.gate.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.admin, Some(tcp("127.0.0.1:9090")));
    let limits = &config.limits;
    assert_eq!((limits.header_bytes, limits.headers, limits.body_bytes), (65_536, 100, None));
    assert_eq!((limits.header_timeout, limits.connections), (Duration::from_secs(10), 10_000));
    assert!(config.usage.enabled);
    assert_eq!(config.usage.interval, Duration::from_secs(10));
    assert!(config.client_ip.trusted_proxies.is_empty());
    assert_eq!(config.client_ip.header, ClientIpHeader::XForwardedFor);
    assert_eq!(config.store_file(), Some(&*folder.path("portcullis.db")));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_slow_lane_and_upstreams_have_the_documented_defaults() {
    let config = Folder::minimal().load(&[]).unwrap();
    let legacy = &config.legacy;
    assert!(legacy.enabled && legacy.upgrade == Upgrade::Never);
    assert_eq!(legacy.cutoff_end, Timestamp(1_689_724_800));
    assert_eq!((legacy.threads, legacy.queue_limit, legacy.candidates_limit), (1, 64, 4));
    assert!((legacy.cpu_share - 0.25).abs() < f64::EPSILON);
    assert_eq!(legacy.cache_ttl, Duration::from_secs(900));
    assert_eq!(legacy.deadline, Duration::from_secs(10));
    let [upstream] = config.upstreams.as_slice() else { panic!("one upstream") };
    assert_eq!(upstream.endpoints, [Endpoint::Http { host: "127.0.0.1".to_owned(), port: 9000 }]);
    assert_eq!(upstream.connect_timeout, Duration::from_secs(2));
    assert_eq!(upstream.response_timeout, Duration::from_secs(60));
    assert_eq!(upstream.idle_timeout, Duration::from_secs(300));
    assert!(!upstream.enforces_projects);
}

#[test]
fn every_file_that_was_read_is_named() {
    let folder = Folder::minimal();
    let config = folder.load(&[]).unwrap();
    let names = ["portcullis.toml", "digest.key", "permission_sets.toml", "routes.toml"];
    assert_eq!(config.files, names.map(|name| folder.path(name)));
}

#[test]
fn an_environment_variable_goes_before_the_file() {
    let folder = Folder::minimal();
    folder.append("portcullis.toml", "[gate]\nlisten = [\"127.0.0.1:1\"]\nworkers = 1\n");
    let config = folder
        .load(&[
            ("PORTCULLIS_GATE__LISTEN", "[\"127.0.0.1:8099\", \"unix:gate.sock\"]"),
            ("PORTCULLIS_GATE__WORKERS", "2"),
            ("PORTCULLIS_GATE__DRAIN_TIMEOUT", "45s"),
            ("PORTCULLIS_LEGACY__CUTOFF", "2023-07-19"),
            ("PORTCULLIS_UPSTREAMS__API__ENDPOINTS", "[\"http://localhost:9001/\"]"),
            ("PORTCULLIS_UPSTREAMS__DEFAULT__ENDPOINTS", "[\"unix:/run/b.sock\"]"),
            ("PORTCULLIS_STORE__URL", "\"sqlite:other.db\""),
            ("PORTCULLIS_CLIENT_IP__TRUSTED_PROXIES", "[\"10.1.2.3/8\"]"),
            ("PORTCULLIS_ADMIN__LISTEN", ""),
            ("PORTCULLIS_CONFIG", "elsewhere.toml"),
            ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ])
        .unwrap();
    assert_eq!(config.gate.listen, [tcp("127.0.0.1:8099"), Listen::Unix(folder.path("gate.sock"))]);
    assert_eq!((config.gate.workers, config.gate.drain_timeout), (2, Duration::from_secs(45)));
    assert_eq!(config.legacy.cutoff_end, Timestamp(1_689_724_800 + 86_400));
    let names: Vec<&str> = config.upstreams.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["api", "default"]);
    assert_eq!(config.upstreams[1].endpoints, [Endpoint::Unix(PathBuf::from("/run/b.sock"))]);
    assert_eq!(config.store_file(), Some(&*folder.path("other.db")));
    assert_eq!(config.client_ip.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(config.admin, None);
}

#[test]
fn an_upstream_with_a_hyphen_is_found_from_the_environment() {
    let folder = Folder::minimal();
    folder.append("portcullis.toml", "[upstreams.big-api]\nendpoints = [\"unix:/a\"]\n");
    folder.write(
        "routes.toml",
        "[[route]]\npath = \"/\"\nrequires = \"public\"\nupstream = \"api\"\n",
    );
    let config = folder.load(&[("PORTCULLIS_UPSTREAMS__BIG_API__IDLE_TIMEOUT", "1m")]).unwrap();
    assert_eq!(config.upstreams[1].idle_timeout, Duration::from_secs(60));
}

#[test]
fn keys_come_from_the_variable_that_the_configuration_names() {
    let folder = Folder::minimal();
    folder.remove("digest.key");
    folder.append("portcullis.toml", "[keys]\ndigest_env = \"PORTCULLIS_MY__KEYS\"\n");
    let value = format!("new:{},old:{}", "aa".repeat(32), "bb".repeat(32));
    let config = folder.load(&[("PORTCULLIS_MY__KEYS", &value)]).unwrap();
    let ids: Vec<&str> = config.keys.iter().map(|key| key.id()).collect();
    assert_eq!(ids, ["new", "old"]);
    assert!(!config.files.contains(&folder.path("digest.key")));
}

#[test]
fn the_variable_with_the_secret_for_introspection_is_no_unknown_setting() {
    let folder = Folder::minimal();
    folder.append(
        "portcullis.toml",
        "[legacy.introspection]\nurl = \"http://[::1]:9/\"\nselectors = [\"old_\"]\nscope = \"a\"\n\
         secret_env = \"PORTCULLIS_MY__SECRET\"\n",
    );
    let config = folder.load(&[("PORTCULLIS_MY__SECRET", "secret-of-the-gate")]).unwrap();
    assert!(config.legacy.introspection.unwrap().authorization.is_some());
}

#[test]
fn the_first_key_is_the_current_one_and_comments_are_skipped() {
    let folder = Folder::minimal();
    let text = format!("# keys\n\nk2:{}\nk1:{}\n", "aa".repeat(32), "bb".repeat(32));
    folder.write_key(&text, 0o600);
    let config = folder.load(&[]).unwrap();
    assert_eq!(config.keys.current().id(), "k2");
    assert!(config.keys.find("k1").is_some());
}

#[test]
fn warnings_do_not_keep_a_configuration_from_being_used() {
    let folder = Folder::minimal();
    folder.write(
        "portcullis.toml",
        "[upstreams.api]\nendpoints = [\"http://10.0.0.7:9000\"]\n[store]\nurl = \"sqlite:a.db\"\n\
         [limits.groups.unused]\ntoken = \"5/1m\"\n[control]\nlisten = \"0.0.0.0:9091\"\n\
         [client_ip]\ntrusted_proxies = [\"0.0.0.0/0\"]\n[feed]\ncache = \"/var/cache\"\n",
    );
    folder.write_key(&format!("k1:{}\n", "aa".repeat(32)), 0o640);
    let warnings = folder.load(&[]).unwrap().warnings;
    let lines: Vec<usize> = warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [2, 5, 8, 10, 12, 0]);
    assert!(warnings[0].to_string().contains("portcullis.toml:2:14: warning: "), "{}", warnings[0]);
    assert!(warnings[5].message.contains("mode 0640"));
}

#[test]
fn a_gate_that_follows_a_control_has_no_store_and_keeps_its_token_to_itself() {
    let folder = Folder::minimal();
    let feed = "[upstreams.api]\nendpoints = [\"http://127.0.0.1:9000\"]\n[feed]\n\
                url = \"http://[::1]:9091/\"\ntoken_env = \"FEED\"\ncache = \"kept\"\nmax_boot_age = \"1h\"\n";
    folder.write("portcullis.toml", feed);
    let config = folder.load(&[("FEED", "a-token-of-the-operator\n")]).unwrap();
    let Origin::Feed(feed) = &config.origin else { panic!("{:?}", config.origin) };
    assert_eq!(feed.endpoint, Endpoint::Http { host: "::1".to_owned(), port: 9091 });
    assert_eq!(feed.tls, None);
    assert_eq!(feed.cache, folder.path("kept"));
    assert_eq!(feed.max_boot_age, std::time::Duration::from_secs(3600));
    assert_eq!(feed.token.expose(), "a-token-of-the-operator");
    assert!(!format!("{config:?}").contains("a-token-of-the-operator"));
    assert_eq!(config.store_file(), None);
    assert_eq!(config.warnings, []);
}

#[test]
fn limits_are_by_group_and_the_default_one_has_what_names_none() {
    let folder = Folder::minimal();
    folder.append(
        "portcullis.toml",
        "[limits]\nbody_bytes = 5\n[limits.groups.default]\naccount = \"5000/1m\"\ncooldown = \"5m\"\n\
         [limits.groups.a]\ntoken = \"20/5s\"\naccount = \"off\"\n",
    );
    let routes = format!(
        "limits = [\"b\"]\n{ROUTES}[[route]]\npath = \"/a\"\nrequires = \"authenticated\"\nlimit = \"a\"\n\
         [[route]]\npath = \"/b\"\nrequires = \"authenticated\"\nlimit = \"b\"\n\
         [[route]]\npath = \"/c\"\nrequires = \"authenticated\"\nlimit = \"off\"\n"
    );
    folder.write("routes.toml", &routes);
    let environment = [("PORTCULLIS_LIMITS__GROUPS__A__TOKEN", "30/5s")];
    let config = folder.load(&environment).unwrap();
    assert_eq!(config.warnings, []);
    let limits = config.limits;
    let rate = |count, seconds| Some(Rate { count, per: Duration::from_secs(seconds) });
    assert_eq!((limits.body_bytes, limits.failed_credentials), (Some(5), rate(100, 60)));
    let group = |name: &str, account, token, cooldown| LimitGroup {
        name: name.to_owned(),
        account,
        token,
        cooldown,
    };
    let minutes = Some(Duration::from_secs(300));
    let expected =
        [group("a", None, rate(30, 5), None), group("default", rate(5_000, 60), None, minutes)];
    assert_eq!(limits.groups, expected);
    let of_routes = config.routes.iter().map(|route| route.limit()).collect::<Vec<_>>();
    assert_eq!(of_routes, [Some(1), Some(0), None, None]);
    assert_eq!(config.routes.unmatched_limit(), Some(1));
}

#[test]
fn every_key_of_the_contract_is_known() {
    let folder = Folder::minimal();
    folder.write("portcullis.toml", include_str!("tests/complete.toml"));
    folder.write("a.toml", &folder.text("routes.toml"));
    folder.write("b.toml", &folder.text("permission_sets.toml"));
    let config = folder.load(&[]).unwrap();
    assert_eq!(config.gate.credential_headers, ["x-api-key"]);
    assert_eq!(config.gate.allow_in_path.0, 0b10101);
    assert_eq!(config.client_ip.header, ClientIpHeader::Forwarded);
    assert!(!config.usage.enabled);
    assert_eq!(config.admin, Some(Listen::Unix(folder.path("admin.sock"))));
    assert_eq!(config.control, Some(Listen::Tcp("127.0.0.1:9091".parse().unwrap())));
}
