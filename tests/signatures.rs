//! The signature files: every entry does what it promises, and ordinary hosts stay ordinary.

#![allow(clippy::too_many_lines, clippy::type_complexity, reason = "tables of cases")]

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use shadowtap::cli::lookup::lookup_lines;
use shadowtap::recorder::signature::network::HiderKind;
use shadowtap::recorder::signature::{
    Catalogue, ClientClass, Clients, Kind, Network, Risk, Role, Status, Strength, check, difference,
};

fn catalogue() -> Catalogue {
    Catalogue::embedded().unwrap_or_else(|e| panic!("{e}"))
}

/// Popular hosts that are no AI service, the vendors' own other hosts, shared infrastructure of
/// AI pages, and look-alikes: none may match anything.
const ORDINARY: &str = "
    google.com www.google.com mail.google.com accounts.google.com drive.google.com docs.google.com
    meet.google.com calendar.google.com play.google.com apis.google.com clients6.google.com
    people-pa.clients6.google.com waa-pa.clients6.google.com maps.google.com news.google.com
    translate.google.com cloud.google.com console.cloud.google.com dl.google.com labs.google.com
    googleapis.com www.googleapis.com fonts.googleapis.com storage.googleapis.com
    oauth2.googleapis.com play.googleapis.com safebrowsing.googleapis.com
    optimizationguide-pa.googleapis.com proactivebackend-pa.googleapis.com
    firebaseinstallations.googleapis.com youtube.com www.youtube.com i.ytimg.com gstatic.com
    fonts.gstatic.com www.gstatic.com googletagmanager.com www.google-analytics.com
    doubleclick.net microsoft.com www.microsoft.com login.microsoftonline.com outlook.office.com
    outlook.office365.com teams.microsoft.com office.com www.office.com substrate.office.com
    m365.cloud.microsoft graph.microsoft.com windowsupdate.com update.microsoft.com
    edge.microsoft.com self.events.data.microsoft.com bing.com www.bing.com edgeservices.bing.com
    r.bing.com live.com login.live.com onedrive.live.com officeapps.live.com sharepoint.com
    contoso.sharepoint.com windows.net contoso.blob.core.windows.net azure.com portal.azure.com
    management.azure.com openai.azure.com cognitiveservices.azure.com services.ai.azure.com
    contoso.azurewebsites.net azureedge.net dev.azure.com linkedin.com www.linkedin.com
    github.com api.github.com raw.githubusercontent.com objects.githubusercontent.com
    avatars.githubusercontent.com github.githubassets.com collector.github.com gist.github.com
    gitlab.com bitbucket.org stackoverflow.com apple.com www.apple.com gateway.icloud.com
    icloud.com www.icloud.com mask.icloud.com mask-h2.icloud.com guzzoni.apple.com
    swscan.apple.com push.apple.com itunes.apple.com cloudflare.com www.cloudflare.com
    api.cloudflare.com challenges.cloudflare.com cdnjs.cloudflare.com static.cloudflareinsights.com
    cloudflare-dns.com cloudflare-ech.com workers.dev my-app.workers.dev pages.dev
    amazonaws.com s3.amazonaws.com s3.us-east-1.amazonaws.com sts.amazonaws.com
    ec2.us-east-1.amazonaws.com lambda.us-east-1.amazonaws.com sqs.eu-west-1.amazonaws.com
    sagemaker.us-east-1.amazonaws.com amazon.com www.amazon.com aws.amazon.com
    d111111abcdef8.cloudfront.net console.aws.amazon.com facebook.com www.facebook.com
    graph.facebook.com instagram.com www.instagram.com whatsapp.com web.whatsapp.com fbcdn.net
    meta.com about.meta.com x.com twitter.com abs.twimg.com reddit.com www.reddit.com
    tiktok.com www.tiktok.com byteoversea.com ibytedtos.com snapchat.com pinterest.com
    discord.com gateway.discord.gg telegram.org signal.org netflix.com www.netflix.com
    spotify.com open.spotify.com twitch.tv zoom.us us02web.zoom.us slack.com app.slack.com
    files.slack.com notion.so www.notion.so notion.com api.notion.com atlassian.com
    api.atlassian.com asana.com monday.com airtable.com clickup.com miro.com figma.com
    www.figma.com canva.com www.canva.com adobe.com www.adobe.com dropbox.com box.com
    docusign.com salesforce.com login.salesforce.com hubspot.com servicenow.com workday.com
    zendesk.com intercom.com api-iam.intercom.io widget.intercom.io js.intercomcdn.com
    sentry.io o33249.ingest.sentry.io statsig.com api.statsig.com events.statsigapi.net
    featuregates.org featureassets.org prodregistryv2.org launchdarkly.com events.launchdarkly.com
    segment.io api.segment.io cdn.segment.com datadoghq.com browser-intake-datadoghq.com
    browser-intake-us5-datadoghq.com auth0.com anthropic.auth0.com workos.com api.workos.com
    stripe.com api.stripe.com js.stripe.com arkoselabs.com client-api.arkoselabs.com
    openai-api.arkoselabs.com recaptcha.net hcaptcha.com usefathom.com cdn.usefathom.com
    imgix.net cloudinary.com res.cloudinary.com algolia.net livekit.cloud turn.livekit.cloud
    host.livekit.cloud akamaihd.net fastly.net jsdelivr.net cdn.jsdelivr.net unpkg.com
    wikipedia.org en.wikipedia.org duckduckgo.com links.duckduckgo.com brave.com search.brave.com
    kagi.com mozilla.org firefox.settings.services.mozilla.com ubuntu.com archive.ubuntu.com
    debian.org deb.debian.org pypi.org files.pythonhosted.org registry.npmjs.org crates.io
    docker.io registry-1.docker.io docker.com hub.docker.com paypal.com ebay.com alibaba.com
    aliyun.com www.aliyun.com aliyuncs.com oss-cn-hangzhou.aliyuncs.com alicdn.com taobao.com
    tencent.com cloud.tencent.com qq.com mail.qq.com weixin.qq.com baidu.com www.baidu.com
    pan.baidu.com bj.bcebos.com volces.com tos-cn-beijing.volces.com bytedance.com jd.com
    bilibili.com zhihu.com www.zhihu.com 360.cn huawei.com mi.com yandex.ru ya.ru yandex.com
    mail.ru vk.com sber.ru naver.com www.naver.com kakao.com line.me yahoo.co.jp rakuten.co.jp
    nvidia.com www.nvidia.com api.nvidia.com ibm.com cloud.ibm.com oracle.com sap.com
    salesloft.com outreach.io proton.me mail.proton.me jetbrains.com www.jetbrains.com
    plugins.jetbrains.com account.jetbrains.com vercel.com my-app.vercel.app netlify.app heroku.com
    digitalocean.com api.digitalocean.com ovh.com scaleway.com api.scaleway.com hetzner.com
    replit.app lovable.app repl.co zapier.com hooks.zapier.com n8n.io make.com ifttt.com
    gemini.com exchange.gemini.com ai.com cursor.example claude.example notchatgpt.com
    chatgpt.com.evil.example openai.com.evil.example notopenai.com fakeclaude.ai xx.ai
    chatgpt.co chatgpt-login.example claude-ai.example api-openai.com deepseek.example
    default.exp-tas.com statuspage.io example.com example.org localhost printer.local
    api.openai.com.attacker.test mistral.example bedrock-runtime.amazonaws.com.evil.example
    com ai co.uk amazonaws.com.cn google in-addr.arpa
";

#[test]
fn ordinary_hosts_match_nothing() {
    let catalogue = catalogue();
    let hosts: Vec<&str> = ORDINARY.split_whitespace().collect();
    assert!(hosts.len() >= 250, "{}", hosts.len());
    let wrong: Vec<String> = hosts
        .iter()
        .filter_map(|h| catalogue.lookup(h).map(|m| format!("{h} -> {}", m.service.id)))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn known_hosts_have_their_service_and_role() {
    let catalogue = catalogue();
    let cases: &[(&str, &str, Role)] = &[
        ("chatgpt.com", "chatgpt", Role::Chat),
        ("ws.chatgpt.com", "chatgpt", Role::Chat),
        ("ab.chatgpt.com", "chatgpt", Role::Telemetry),
        ("cdn.oaistatic.com", "chatgpt", Role::Asset),
        ("files.oaiusercontent.com", "chatgpt", Role::Upload),
        ("images.oaiusercontent.com", "chatgpt", Role::Asset),
        ("auth.openai.com", "chatgpt", Role::Auth),
        ("www.openai.com", "chatgpt", Role::Other),
        ("api.openai.com", "openai-api", Role::Api),
        ("platform.openai.com", "openai-api", Role::Other),
        ("claude.ai", "claude", Role::Chat),
        ("docs.claude.ai", "claude", Role::Other),
        ("docs.anthropic.com", "claude", Role::Other),
        ("statsig.anthropic.com", "claude", Role::Telemetry),
        ("api.anthropic.com", "anthropic-api", Role::Api),
        ("gemini.google.com", "gemini", Role::Chat),
        ("generativelanguage.googleapis.com", "gemini-api", Role::Api),
        ("us-central1-aiplatform.googleapis.com", "vertex-ai", Role::Api),
        ("contoso.openai.azure.com", "azure-openai", Role::Api),
        ("docs.openai.azure.com", "azure-openai", Role::Other),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "amazon-bedrock", Role::Api),
        ("bedrock.eu-central-1.amazonaws.com", "amazon-bedrock", Role::Other),
        ("api.business.githubcopilot.com", "github-copilot", Role::Api),
        ("telemetry.business.githubcopilot.com", "github-copilot", Role::Telemetry),
        ("api2.cursor.sh", "cursor", Role::Api),
        ("authenticator.cursor.sh", "cursor", Role::Auth),
        ("metrics.cursor.sh", "cursor", Role::Telemetry),
        ("cursor.sh", "cursor", Role::Other),
        ("www.cursor.com", "cursor", Role::Other),
        ("www.perplexity.ai", "perplexity", Role::Chat),
        ("status.perplexity.ai", "perplexity", Role::Other),
        ("chat.deepseek.com", "deepseek", Role::Chat),
        ("www.deepseek.com", "deepseek", Role::Other),
        ("registry.ollama.ai", "ollama", Role::Download),
        ("huggingface.co", "huggingface", Role::Chat),
        ("router.huggingface.co", "huggingface-inference", Role::Api),
        ("openrouter.ai", "openrouter", Role::Api),
        ("docs.openrouter.ai", "openrouter", Role::Other),
        ("us-west-2.recall.ai", "recall-ai", Role::Api),
        ("www.recall.ai", "recall-ai", Role::Other),
        ("acme.fellow.app", "fellow", Role::Chat),
        ("www.fellow.app", "fellow", Role::Other),
    ];
    for (host, service, role) in cases {
        let found = catalogue.lookup(host).map(|m| (m.service.id.as_str(), m.role));
        assert_eq!(found, Some((*service, *role)), "{host}");
    }
}

#[test]
fn the_open_label_of_tenant_and_template_is_told() {
    let catalogue = catalogue();
    let cases: &[(&str, Option<&str>)] = &[
        ("contoso.openai.azure.com", Some("contoso")),
        ("bedrock-runtime.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
        ("europe-west4-aiplatform.googleapis.com", Some("europe-west4")),
        ("chatgpt.com", None),
        ("ws.chatgpt.com", None),
    ];
    for (host, tenant) in cases {
        assert_eq!(catalogue.lookup(host).and_then(|m| m.tenant), *tenant, "{host}");
    }
}

#[test]
fn every_entry_can_be_trusted() {
    let catalogue = catalogue();
    assert!(catalogue.services().len() >= 250, "{}", catalogue.services().len());
    let mut ids = HashSet::new();
    let mut patterns = HashSet::new();
    for service in catalogue.services() {
        let id = service.id.as_str();
        assert!(ids.insert(id), "{id} is there twice");
        assert!(!service.provenance.is_empty(), "{id} has no provenance");
        assert!(service.first_added <= service.last_verified, "{id}");
        let memory_only = service.provenance.iter().all(|p| p == "memory");
        if memory_only {
            assert_eq!(service.status, Status::Unverified, "{id}");
        }
        for host in &service.hosts {
            let pattern = host.pattern.as_str();
            assert!(patterns.insert((pattern, host.kind)), "{pattern} is there twice");
            assert!(!memory_only || host.strength != Strength::Certain, "{pattern}");
            let fixed = pattern.replace("{region}", "x");
            let suffix = psl::suffix(fixed.as_bytes()).map(|s| s == fixed.as_bytes());
            let customer = matches!(host.kind, Kind::Exact | Kind::Tenant);
            assert!(customer || suffix != Some(true), "{pattern} is a public suffix");
        }
    }
}

#[test]
fn the_version_follows_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |host: &str| {
        format!(
            "[[service]]\nid = 'one'\nname = 'One'\nvendor = 'One'\nvendor_country = 'DE'\n\
             category = 'chat'\nstatus = 'active'\nfirst_added = '2026-11-23'\n\
             last_verified = '2026-11-23'\nprovenance = ['vendor documentation']\n\
             must_match = ['{host}']\nmust_miss = ['other.example']\n\
             [[service.host]]\npattern = '{host}'\nmatch = 'exact'\nrole = 'chat'\n\
             strength = 'certain'\n"
        )
    };
    let version = |text: &str| {
        std::fs::write(folder.path().join("chat.toml"), text).unwrap();
        Catalogue::from_dir(folder.path()).unwrap().version().to_owned()
    };
    let first = version(&entry("one.example"));
    assert_eq!(first, version(&entry("one.example")));
    assert_ne!(first, version(&entry("two.example")));
    assert_eq!(first.len(), 12);
    let own = Catalogue::from_dir(folder.path()).unwrap();
    assert!(own.lookup("chatgpt.com").is_none(), "a folder replaces the embedded catalogue");
    assert!(own.lookup("two.example").is_some());
    let network = Network::from_dir(folder.path()).unwrap();
    assert!(network.by_name("dns.google").is_some(), "what the folder lacks is the embedded one");
    let clients = Clients::from_dir(folder.path()).unwrap();
    assert_eq!(clients.class_of("", "curl/8.0", "", false, false, false).1, "ua-curl");
}

#[test]
fn the_repository_folder_is_the_embedded_catalogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("signatures");
    assert_eq!(Catalogue::from_dir(&folder).unwrap().version(), catalogue().version());
    assert!(Clients::from_dir(&folder).is_ok());
    let network = Network::from_dir(&folder).unwrap();
    assert_eq!(network.hiders().len(), Network::embedded().unwrap().hiders().len());
}

/// A valid entry; each case breaks one thing and names the line that must be blamed.
const ENTRY: &str = "[[service]]
id = 'one'
name = 'One'
vendor = 'One'
vendor_country = 'DE'
category = 'chat'
tags = ['generative']
status = 'active'
first_added = '2026-11-23'
last_verified = '2026-11-23'
provenance = ['vendor documentation']
must_match = ['one.example']
must_miss = ['bone.example', 'blog.one.example']
[[service.host]]
pattern = 'one.example'
match = 'suffix'
role = 'chat'
strength = 'certain'
excludes = ['blog.one.example']
";

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let second = ENTRY.replace("'one'", "'two'");
    let template = |p: &str| {
        ENTRY
            .replace("'suffix'", "'template'")
            .replace("pattern = 'one.example'", p)
            .replace("excludes = ['blog.one.example']", "")
    };
    let cases: Vec<(&str, String, Option<(usize, &str)>)> = vec![
        ("as it is", ENTRY.to_owned(), None),
        ("unknown key", ENTRY.replace("name =", "nam ="), Some((3, "unknown field"))),
        ("syntax", ENTRY.replace("vendor = 'One'", "vendor = "), Some((4, ""))),
        ("unknown role", ENTRY.replace("'chat'\nstrength", "'chats'\nstrength"), Some((17, ""))),
        (
            "no date",
            ENTRY.replace("added = '2026-11-23'", "added = '2026-13-23'"),
            Some((9, "date")),
        ),
        ("country", ENTRY.replace("'DE'", "'Germany'"), Some((5, "country"))),
        ("tag", ENTRY.replace("'generative'", "'nice'"), Some((7, "tag"))),
        ("no provenance", ENTRY.replace("['vendor documentation']", "[]"), Some((2, "provenance"))),
        (
            "memory is not certain",
            ENTRY.replace("vendor documentation", "memory"),
            Some((2, "memory")),
        ),
        ("capitals", ENTRY.replace("pattern = 'one", "pattern = 'One"), Some((15, "lower case"))),
        (
            "final dot",
            ENTRY.replace("= 'one.example'\nm", "= 'one.example.'\nm"),
            Some((15, "host name")),
        ),
        ("wildcard", ENTRY.replace("pattern = 'one", "pattern = '*.one"), Some((15, "host name"))),
        (
            "public suffix",
            ENTRY.replace("pattern = 'one.example'", "pattern = 'co.uk'"),
            Some((15, "public suffix")),
        ),
        (
            "one label",
            ENTRY.replace("pattern = 'one.example'", "pattern = 'example'"),
            Some((15, "")),
        ),
        (
            "address",
            ENTRY.replace("pattern = 'one.example'", "pattern = '10.0.0.1'"),
            Some((15, "address")),
        ),
        (
            "must match",
            ENTRY.replace("['one.example']\nm", "['two.example']\nm"),
            Some((12, "must match")),
        ),
        ("must miss", ENTRY.replace("['bone.", "['a.one."), Some((13, "must miss"))),
        ("no example", ENTRY.replace("must_match = ['one.example']", ""), Some((2, "must_match"))),
        ("exclude elsewhere", ENTRY.replace("['blog.one", "['blog.two"), Some((19, "not below"))),
        (
            "exclude without border",
            ENTRY.replace("excludes = ['blog.one", "excludes = ['blogone"),
            Some((19, "not below")),
        ),
        ("same id", format!("{ENTRY}{ENTRY}"), Some((21, "taken"))),
        ("two owners", format!("{ENTRY}{second}"), Some((34, "owner"))),
        ("no variable", template("pattern = 'a.one.example'"), Some((15, "variable"))),
        ("two variables", template("pattern = '{a}.{b}.one.example'"), Some((15, "variable"))),
        ("two in a label", template("pattern = '{a}{b}.one.example'"), Some((15, "variable"))),
        ("anybody's name", template("pattern = 'api.{region}.co.uk'"), Some((15, "anybody"))),
        ("variable registrable", template("pattern = 'api.{region}.com'"), Some((15, ""))),
        ("weak without more", ENTRY.replace("'certain'", "'weak'"), Some((15, "also_needed"))),
    ];
    for (name, text, expected) in cases {
        std::fs::write(folder.path().join("chat.toml"), text).unwrap();
        let found = Catalogue::from_dir(folder.path()).err();
        match (&found, expected) {
            (None, None) => {}
            (Some(error), Some((line, word))) => {
                assert_eq!(
                    (error.file.as_str(), error.line),
                    ("chat.toml", line),
                    "{name}: {error}"
                );
                assert!(error.message.contains(word), "{name}: {error}");
            }
            _ => panic!("{name}: {found:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn weak_evidence_names_a_service() {
    let catalogue = catalogue();
    let by_addr = |a: &str| {
        let addr: IpAddr = a.parse().unwrap();
        catalogue.by_address(addr).map(|s| s.id.as_str())
    };
    assert_eq!(by_addr("160.79.104.10"), Some("anthropic-api"));
    assert_eq!(by_addr("160.79.105.255"), Some("anthropic-api"));
    assert_eq!(by_addr("160.79.106.0"), None);
    assert_eq!(by_addr("2607:6bc0::10"), Some("anthropic-api"));
    assert_eq!(by_addr("2607:6bc1::10"), None);
    let by_api = |api, port| catalogue.by_api(api, port).map(|s| s.id.as_str());
    assert_eq!(by_api("ollama.generate", 11434), Some("ollama"));
    assert_eq!(by_api("openai.generate", 1234), Some("lm-studio"));
    assert_eq!(by_api("no.such", 1), None);
    assert_eq!(catalogue.service("codeium").map(|s| s.id.as_str()), Some("windsurf"));
}

#[test]
fn clients_are_told_apart() {
    use ClientClass::{Browser, Program, Server, Unknown};
    type Case<'a> = (&'a str, (&'a str, &'a str, &'a str, bool, bool, bool), ClientClass, &'a str);
    let clients = Clients::embedded().unwrap_or_else(|e| panic!("{e}"));
    let chromium = "t13d1517h2_8daaf6152771_cb7bf5808d99";
    let mozilla = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0";
    let bot = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.3)";
    let unknown = "t13d9912h2_aaaaaaaaaaaa_bbbbbbbbbbbb";
    let cases: &[Case] = &[
        ("nothing", ("", "", "", false, false, false), Unknown, ""),
        ("sdk header", ("", mozilla, "", true, true, true), Program, "sdk-header"),
        ("chromium", (chromium, "", "h2,http/1.1", true, true, false), Browser, "chromium"),
        (
            "chromium, newer",
            ("t13d1519h2_8daaf6152771_000000000000", "", "h2,http/1.1", true, true, false),
            Browser,
            "chromium",
        ),
        (
            "chromium websocket",
            ("t13d1516h1_8daaf6152771_000000000000", "", "http/1.1", true, true, false),
            Browser,
            "chromium",
        ),
        (
            "chromium quic",
            ("q13d0312h3_55b375c5d22e_178839b6cec1", "", "h3", false, true, false),
            Browser,
            "chromium-quic",
        ),
        (
            "quic with the common ciphers",
            ("q13d0310h3_55b375c5d22e_000000000000", "", "h3", false, false, false),
            Program,
            "no-grease-no-ech",
        ),
        (
            "firefox",
            ("t13d1617h2_86a278354501_3cbfd9057e0d", "", "h2,http/1.1", false, true, false),
            Browser,
            "firefox",
        ),
        (
            "old firefox",
            ("t13d1715h2_5b57614c22b0_5c2c66f702b0", "", "h2,http/1.1", false, false, false),
            Browser,
            "firefox",
        ),
        (
            "bun has firefox's ciphers",
            ("t13d1714h1_5b57614c22b0_43ade6aba3df", "", "http/1.1", false, false, false),
            Program,
            "bun",
        ),
        (
            "bun, newer",
            ("t13d1715h1_5b57614c22b0_000000000000", "", "http/1.1", false, false, false),
            Program,
            "bun",
        ),
        (
            "python",
            ("t13d1812h1_85036bcba153_d41ae481755e", "", "http/1.1", false, false, false),
            Program,
            "python-openssl-3.0",
        ),
        (
            "python by parts",
            ("t13i1899h1_85036bcba153_000000000000", "", "http/1.1", false, false, false),
            Program,
            "python-openssl-3.0",
        ),
        (
            "codex",
            ("t13d1011h2_61a7ad8aa9b6_0d308c48d2a3", "", "h2,http/1.1", false, false, false),
            Program,
            "rustls",
        ),
        (
            "unknown, no grease",
            (unknown, "", "h2,http/1.1", false, false, false),
            Program,
            "no-grease-no-ech",
        ),
        (
            "unknown, http/1.1",
            (unknown, "", "http/1.1", false, false, false),
            Program,
            "no-grease-no-ech-http1",
        ),
        (
            "unknown, no alpn",
            (unknown, "", "", false, false, false),
            Program,
            "no-grease-no-ech-no-alpn",
        ),
        ("unknown, grease", (unknown, "", "h2,http/1.1", true, false, false), Browser, "grease"),
        (
            "unknown, ech extension",
            (unknown, "", "h2,http/1.1", false, true, false),
            Browser,
            "ech-extension",
        ),
        ("user agent alone", ("", mozilla, "", false, false, false), Browser, "ua-browser"),
        (
            "stack before a browser's user agent",
            ("t13d1812h1_85036bcba153_d41ae481755e", mozilla, "http/1.1", false, false, false),
            Program,
            "python-openssl-3.0",
        ),
        (
            "program's user agent before stack",
            (chromium, "OpenAI/Python 2.54.0", "h2", true, true, false),
            Program,
            "ua-openai-python",
        ),
        (
            "longest prefix",
            ("", "Python-urllib/3.11", "", false, false, false),
            Program,
            "ua-urllib",
        ),
        (
            "agent",
            ("", "claude-cli/2.1.197 (external, cli)", "", false, false, false),
            Program,
            "ua-claude-cli",
        ),
        ("crawler", ("", bot, "", false, false, false), Server, "ua-gptbot"),
        ("not a JA4", ("x", "", "h2", false, false, false), Program, "no-grease-no-ech"),
    ];
    for (name, (ja4, agent, alpn, grease, ech, sdk), class, evidence) in cases {
        let found = clients.class_of(ja4, agent, alpn, *grease, *ech, *sdk);
        assert_eq!(found, (*class, *evidence), "{name}");
    }
}

#[test]
fn hiding_places_are_known() {
    let network = Network::embedded().unwrap_or_else(|e| panic!("{e}"));
    let cases: &[(&str, Option<HiderKind>)] = &[
        ("dns.google", Some(HiderKind::EncryptedDns)),
        ("abc123.dns.nextdns.io", Some(HiderKind::EncryptedDns)),
        ("mozilla.cloudflare-dns.com", Some(HiderKind::EncryptedDns)),
        ("cloudflare-ech.com", Some(HiderKind::EchPublicName)),
        ("gateway.zscaler.net", Some(HiderKind::SecurityEdge)),
        ("gateway-contoso.goskope.com", Some(HiderKind::SecurityEdge)),
        ("mask.icloud.com", Some(HiderKind::Relay)),
        ("www.google.com", None),
        ("icloud.com", None),
        ("www.cloudflare.com", None),
        ("notzscaler.net", None),
    ];
    for (host, kind) in cases {
        assert_eq!(network.by_name(host).map(|h| h.kind), *kind, "{host}");
    }
    let by_addr = |a: &str| network.by_address(a.parse().unwrap()).map(|h| h.id.as_str());
    assert_eq!(by_addr("1.1.1.1"), Some("dns-cloudflare"));
    assert_eq!(by_addr("::ffff:9.9.9.9"), Some("dns-quad9"));
    assert_eq!(by_addr("2001:4860:4860::8888"), Some("dns-google"));
    assert_eq!(by_addr("192.0.2.1"), None);
    assert!(network.is_ech_public_name("cloudflare-ech.com"));
    assert!(!network.is_ech_public_name("dns.google"));
}

#[test]
fn lookup_answers_every_line() {
    let catalogue = catalogue();
    let hosts = ["API.OpenAI.com", "example.org", "", "contoso.openai.azure.com:443"];
    let mut out = Vec::new();
    lookup_lines(&catalogue, hosts, &mut out).unwrap();
    let lines = String::from_utf8(out).unwrap();
    let expected = "API.OpenAI.com\topenai-api\tapi.openai.com\nexample.org\t\t\n\t\t\n\
                    contoso.openai.azure.com:443\tazure-openai\topenai.azure.com\n";
    assert_eq!(lines, expected);
}

#[test]
fn the_shipped_catalogue_has_no_fault() {
    let report = check::check(None, None).unwrap_or_else(|e| panic!("{e}"));
    let told: Vec<String> = report
        .faults
        .iter()
        .map(|f| format!("{}:{} [{}] {}; {}", f.file, f.line, f.rule, f.message, f.fix))
        .collect();
    assert_eq!(told, Vec::<String>::new());
    assert!(report.services >= 2_000 && report.patterns >= 4_000, "{report:?}");
    assert!(report.memory_only * 100 <= report.services * check::MEMORY_MAX_PERCENT);
}

#[test]
fn a_check_tells_every_fault_with_its_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let with = |id: &str, host: &str| {
        ENTRY.replace("'one'", &format!("'{id}'")).replace("one.example", host)
    };
    let suffix = |id: &str, host: &str| with(id, host).replace("excludes", "# excludes");
    // Each case breaks one thing in the second entry, which begins at line 20.
    let good = with("one", "one.example");
    let cases = [
        ("shared", suffix("two", "googleapis.com"), 34),
        ("shared", suffix("two", "tenant.auth0.com"), 34),
        ("source", suffix("two", "two.example").replace("vendor doc", "a blog, "), 30),
        (
            "source",
            suffix("two", "two.example").replace("vendor documentation", "awesome-ai-agents: x"),
            30,
        ),
        // A popular host is there; that says nothing of whose it is.
        (
            "memory",
            suffix("two", "two.example")
                .replace("vendor documentation", "crux-top-1m: two.example', 'memory"),
            21,
        ),
        // The vendor has another host here, which this entry must miss.
        ("neighbour", suffix("two", "two.example").replace(", 'blog.two.example'", ""), 21),
        ("duplicate", suffix("two", "one.example"), 34),
        ("public-suffix", suffix("two", "co.uk"), 34),
        ("must-miss", suffix("two", "two.example").replace("['bone.", "['a.two."), 32),
        ("id", suffix("one", "two.example"), 21),
        (
            "date",
            suffix("two", "two.example").replace("verified = '2026-11-23'", "verified = 'x'"),
            29,
        ),
    ];
    for (rule, second, at) in cases {
        std::fs::write(folder.path().join("chat.toml"), format!("{good}{second}")).unwrap();
        let report = check::check(Some(folder.path()), None).unwrap();
        let found = report.faults.iter().find(|f| f.rule == rule && f.line > 0);
        let fault = found.unwrap_or_else(|| panic!("{rule}: {report:?}"));
        assert_eq!((fault.file.as_str(), fault.line), ("chat.toml", at), "{rule}: {fault:?}");
        assert!(!fault.fix.is_empty(), "{rule}");
    }
    // Two faults in two entries are both told.
    let both = format!("{}{}", suffix("one", "co.uk"), suffix("two", "github.io"));
    std::fs::write(folder.path().join("chat.toml"), both).unwrap();
    let report = check::check(Some(folder.path()), None).unwrap();
    assert!(report.faults.iter().filter(|f| f.rule == "public-suffix").count() == 2, "{report:?}");
    // Age is asked, and never guessed.
    std::fs::write(folder.path().join("chat.toml"), &good).unwrap();
    let stale = |today: &str| {
        let report =
            check::check(Some(folder.path()), Some((180, today.parse().unwrap()))).unwrap();
        report.faults.iter().map(|f| (f.rule, f.line)).collect::<Vec<_>>()
    };
    assert_eq!(stale("2027-05-22"), []);
    assert_eq!(stale("2027-05-23"), [("stale", 10)]);
}

#[test]
fn risk_facts_make_a_score_that_can_be_recomputed() {
    let catalogue = catalogue();
    let risk = Risk::embedded(&catalogue).unwrap_or_else(|e| panic!("{e}"));
    assert!(risk.len() >= 100, "{}", risk.len());
    let score = risk.score("chatgpt");
    let known: u32 = score.lines.iter().filter(|l| l.percent.is_some()).map(|l| l.weight).sum();
    let taken: u32 = score.lines.iter().filter_map(|l| Some(l.weight * l.percent?)).sum();
    let points = score.points.unwrap();
    assert!(points.abs_diff(taken / known) <= 1, "{points} {taken} {known}");
    assert!(risk.score("azure-openai").points.unwrap() < points, "a contract is less risky");
    let unknown = catalogue.services().iter().find(|s| risk.facts(&s.id).is_none()).unwrap();
    assert_eq!(risk.score(&unknown.id).points, None);
}

#[test]
fn a_local_file_outlives_the_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local.toml");
    let own =
        ENTRY.replace("one.example", "gateway.corp.example").replace("'one'", "'our-gateway'");
    let api = ENTRY
        .replace("'one.example'\nmatch = 'suffix'", "'api.openai.com'\nmatch = 'exact'")
        .replace("['one.example']", "['api.openai.com']")
        .replace("excludes", "# excludes")
        .replace("'one'", "'our-contract'");
    let changes = "[[change]]\nservice = 'claude'\nname = 'Claude (works council)'\n\
         category = 'writing'\n[change.risk]\n\
         retention = { value = 'none', source = 'our contract', date = '2026-11-01' }\n\
         [[change]]\nservice = 'perplexity'\nmute = true\n";
    std::fs::write(&local, format!("{own}{api}{changes}")).unwrap();
    let catalogue = Catalogue::with_local(None, Some(&local)).unwrap_or_else(|e| panic!("{e}"));
    let id = |host: &str| catalogue.lookup(host).map(|m| m.service.id.clone());
    assert_eq!(id("a.gateway.corp.example").as_deref(), Some("our-gateway"));
    assert_eq!(id("api.openai.com").as_deref(), Some("our-contract"), "ours goes first");
    assert_eq!(id("chatgpt.com").as_deref(), Some("chatgpt"), "the rest stays");
    assert_eq!(id("www.perplexity.ai"), None, "muted");
    assert!(catalogue.service("perplexity").is_some(), "and known by name");
    let claude = catalogue.service("claude").unwrap();
    assert_eq!(
        (claude.name.as_str(), claude.category.word()),
        ("Claude (works council)", "writing")
    );
    assert_ne!(catalogue.version(), self::catalogue().version());
    let mut risk = Risk::embedded(&catalogue).unwrap();
    risk.take_local(&local).unwrap();
    assert_eq!(risk.facts("claude").unwrap()["retention"].source, "our contract");
    for (text, line) in [
        ("[[change]]\nservice = 'nobody'\n", 2),
        ("[[change]]\nservice = 'claude'\ncategory = 'nice'\n", 3),
        ("[[change]]\nservice = 'claude'\nmuted = true\n", 3),
    ] {
        std::fs::write(&local, text).unwrap();
        let error = Catalogue::with_local(None, Some(&local)).err().unwrap();
        assert_eq!((error.file.as_str(), error.line), ("local.toml", line), "{error}");
    }
}

#[test]
fn a_difference_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: String| {
        std::fs::write(folder.path().join("chat.toml"), text).unwrap();
        Catalogue::from_dir(folder.path()).unwrap()
    };
    let before = load(ENTRY.to_owned());
    let after = load(
        ENTRY
            .replace("name = 'One'", "name = 'Uno'")
            .replace("category = 'chat'", "category = 'search'")
            .replace("'certain'", "'probable'")
            + "[[service.host]]\npattern = 'api.one.example'\nmatch = 'exact'\nrole = 'api'\n\
               strength = 'certain'\n",
    );
    assert_eq!(
        difference::sentences(&before, &after),
        [
            "names one Uno, not One",
            "counts one among search, not chat",
            "now flags api.one.example as one (api, certain)",
            "is probable of one.example and below, not certain",
        ]
    );
    assert_eq!(difference::sentences(&before, &before), Vec::<String>::new());
    let gone = difference::sentences(&after, &before);
    assert!(gone.contains(&"no longer flags api.one.example (one)".to_owned()), "{gone:?}");
}

fn shadowtap(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shadowtap"))
        .args(args)
        .current_dir(dir)
        .env_remove("SHADOWTAP_CONFIG")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs another program; `None` where it is not installed.
fn tool(dir: &Path, name: &str, args: &[&str]) -> Option<(bool, String)> {
    let output = Command::new(name).args(args).current_dir(dir).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn only_a_signed_fresh_and_newer_bundle_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::create_dir(dir.join("src")).unwrap();
    std::fs::write(dir.join("src/chat.toml"), ENTRY).unwrap();
    let pack = |n: &str, until: &str, out: &str| {
        shadowtap(
            dir,
            &["signatures", "pack", "src", "--number", n, "--expires", until, "--out", out],
        )
    };
    for (n, until, out) in [
        ("1", "2027-05-31", "one.json"),
        ("2", "2027-05-31", "two.json"),
        ("3", "2026-12-31", "old.json"),
    ] {
        assert_eq!(pack(n, until, out).0, Some(0));
    }
    let install = |bundle: &str| {
        let day = ["--key", "k.pub", "--today", "2027-01-15"];
        let args = [&["signatures", "install", bundle, "--dir", "live"][..], &day].concat();
        shadowtap(dir, &args)
    };
    // Without a signature, nothing happens.
    std::fs::write(dir.join("k.pub"), "untrusted comment: none\nRWQ=\n").unwrap();
    assert_eq!(install("one.json").0, Some(1));
    assert!(!dir.join("live").exists());
    let made = tool(dir, "minisign", &["-G", "-W", "-f", "-p", "k.pub", "-s", "k.sec"]);
    let Some((true, _)) = made else {
        // The signer is another program; what needs none of it was tested.
        return;
    };
    let sign = |file: &str| {
        let (signed, text) = tool(dir, "minisign", &["-S", "-s", "k.sec", "-m", file]).unwrap();
        assert!(signed, "{text}");
    };
    for file in ["one.json", "two.json", "old.json"] {
        sign(file);
    }
    let verify = ["signatures", "verify", "two.json", "--key", "k.pub", "--today", "2027-01-15"];
    assert_eq!(shadowtap(dir, &verify).0, Some(0));
    let (code, text) = install("two.json");
    assert_eq!(code, Some(0), "{text}");
    let installed = std::fs::read(dir.join("live/chat.toml")).unwrap();
    assert_eq!(installed, ENTRY.as_bytes());
    for (bundle, why) in
        [("one.json", "version 1"), ("two.json", "version 2"), ("old.json", "last day")]
    {
        let (code, text) = install(bundle);
        assert_eq!(code, Some(1), "{bundle}: {text}");
        assert!(text.contains(why), "{bundle}: {text}");
    }
    // One octet changed, another key, and a newer one that holds a mistake.
    let three = ENTRY.replace("pattern = 'one.example'", "pattern = 'uno.example'");
    std::fs::write(dir.join("src/chat.toml"), three.replace("one.example", "uno.example")).unwrap();
    assert_eq!(pack("4", "2027-05-31", "four.json").0, Some(0));
    sign("four.json");
    let good = std::fs::read_to_string(dir.join("four.json")).unwrap();
    std::fs::write(dir.join("four.json"), good.replace("uno", "due")).unwrap();
    assert!(install("four.json").1.contains("changed"));
    std::fs::write(dir.join("five.json"), good.replace("strength", "strongth")).unwrap();
    sign("five.json");
    let (code, text) = install("five.json");
    assert!(code == Some(1) && text.contains("strongth"), "{text}");
    assert_eq!(std::fs::read(dir.join("live/chat.toml")).unwrap(), installed, "kept");
    std::fs::write(dir.join("four.json"), good).unwrap();
    let (code, text) = install("four.json");
    assert!(code == Some(0) && text.contains("differences"), "{text}");
    assert_eq!(std::fs::read(dir.join("live.previous/chat.toml")).unwrap(), installed);
    assert!(tool(dir, "minisign", &["-G", "-W", "-f", "-p", "k.pub", "-s", "k2.sec"]).is_some());
    assert!(shadowtap(dir, &verify).1.contains("signed by another"));
}

#[test]
fn exports_are_read_by_the_tools_that_they_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let export = |format: &str| {
        let (code, text) = shadowtap(dir, &["signatures", "export", format]);
        assert_eq!(code, Some(0), "{format}: {text}");
        std::fs::write(dir.join(format), &text).unwrap();
        text
    };
    let plain = export("plain");
    for line in [".chatgpt.com", "api.openai.com", "*.openai.azure.com"] {
        assert!(plain.lines().any(|l| l == line), "{line}");
    }
    let rules = export("suricata");
    let sids: HashSet<&str> =
        rules.lines().filter_map(|l| l.split("sid:").nth(1)?.split(';').next()).collect();
    assert_eq!(sids.len() + 1, rules.lines().count(), "a number for each rule");
    assert!(rules.contains("dotprefix; content:\".chatgpt.com\"; endswith;"));
    let intel = export("zeek-intel");
    assert!(intel.lines().all(|l| l.split('\t').count() >= 4), "tabs");
    assert!(export("sigma").contains("query: 'api.openai.com'"));
    let zone = export("rpz");
    assert!(zone.contains("\n*.openai.azure.com CNAME .\n"));
    if let Some((read, text)) = tool(dir, "named-checkzone", &["rpz.example", "rpz"]) {
        assert!(read, "{text}");
    }
    let resolver = "server:\n  chroot: ''\n  username: ''\n  directory: '.'\n  \
                    module-config: 'respip validator iterator'\n\
                    rpz:\n  name: rpz.example\n  zonefile: 'rpz'\n";
    std::fs::write(dir.join("unbound.conf"), resolver).unwrap();
    if let Some((read, text)) = tool(dir, "unbound-checkconf", &["unbound.conf"]) {
        assert!(read, "{text}");
    }
    if let Some((read, text)) = tool(dir, "suricata", &["-T", "-S", "suricata", "-l", "."]) {
        assert!(read, "{text}");
    }
    let yaml = "import yaml; rules = list(yaml.safe_load_all(open('sigma'))); \
                assert len(rules) > 1000 and all(r['detection'] for r in rules)";
    let reader = tool(dir, "python3", &["-c", "import yaml"]);
    if reader.is_some_and(|(installed, _)| installed) {
        let (read, text) = tool(dir, "python3", &["-c", yaml]).unwrap();
        assert!(read, "{text}");
    }
}
