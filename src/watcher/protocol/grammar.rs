//! Grammar of AI APIs: which API a request or answer speaks, whoever serves it.
//!
//! In: method and request target, header fields one by one, the first bytes of a few bodies.
//! Out: an [`Api`], or a [`Sign`] that still wants a second proof.
//! Never: keeps the target, a field value or a body; reads tool names, tool arguments, prompts.
//! Limits: [`MATCH_BYTES_MAX`] of a target, [`WINDOW_MAX`] bytes of a body.
//! Source: public API references of the programs named; MCP revisions 2024-11-05 to 2026-07-28;
//! A2A 1.0; KServe Open Inference Protocol v2.
//!
//! An API is what is *spoken*, not who speaks it: `/v1/messages` on a machine of one's own is
//! compatible with Anthropic, and many programs answer `Ollama is running`. To add an API: a line
//! in `families!` if the family is new, a line in `PATHS`, and a case in the tests.

#![expect(clippy::doc_markdown, reason = "names of products, not of code")]

use serde::{Deserialize, Serialize};

/// Longest part of a request target that is matched. Model ids and resource names fit; what is
/// longer is no path of an API.
pub const MATCH_BYTES_MAX: usize = 1024;

/// Bytes of a body in which fixed markers are looked for: an `initialize` of every MCP SDK has
/// its `protocolVersion` within this.
pub const WINDOW_MAX: usize = 512;

/// An API recognised by its grammar. The path itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Api {
    /// Whose grammar it is.
    pub family: Family,
    /// What is done with it.
    pub act: Act,
}

/// What a request asks of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Act {
    /// Text, image, speech or transcript is made; an agent is sent a message.
    Generate,
    /// Vectors or scores are made.
    Embed,
    /// Models are listed, shown, loaded or fetched.
    Models,
    /// A tool is called; which one is never told.
    Tool,
    /// A session, stream or login is set up, kept or ended.
    Session,
    /// An agent or server says what it can do.
    Card,
    /// Files or model layers are sent.
    Upload,
    /// The server says that it lives.
    Health,
    /// Anything else within the API.
    Other,
}

/// Generation of the Model Context Protocol, by revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Generation {
    /// Surely MCP, but the revision was not said.
    Unknown,
    /// 2024-11-05: HTTP with SSE.
    Sse2024,
    /// 2025-03-26 to 2025-11-25: streamable HTTP with a session.
    Session2025,
    /// 2026-07-28: stateless, method in a header field.
    Stateless2026,
}

/// Writes [`Family`], its stable ids, and both ways between them.
macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident $(($payload:ident))? => $([$($form:tt)+] $id:literal),+;)+) => {
        /// Whose grammar is spoken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Family {
            $($(#[$doc])* $variant $(($payload))?,)+
        }

        impl Family {
            /// Every family, MCP once for each generation.
            pub const ALL: &[Family] = &[$($(Family::$($form)+,)+)+];

            /// Stable id, for example `openai` or `mcp-2026`.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Family::$($form)+ => $id,)+)+
                }
            }
        }

        impl Api {
            /// Stable id of family and act, for example `openai.generate`.
            pub const fn name(self) -> &'static str {
                match self.family {
                    $($(Family::$($form)+ => match self.act {
                        Act::Generate => concat!($id, ".generate"),
                        Act::Embed => concat!($id, ".embed"),
                        Act::Models => concat!($id, ".models"),
                        Act::Tool => concat!($id, ".tool"),
                        Act::Session => concat!($id, ".session"),
                        Act::Card => concat!($id, ".card"),
                        Act::Upload => concat!($id, ".upload"),
                        Act::Health => concat!($id, ".health"),
                        Act::Other => concat!($id, ".other"),
                    },)+)+
                }
            }
        }
    };
}

families! {
    /// OpenAI-compatible, under whatever prefix.
    OpenAi => [OpenAi] "openai";
    /// Anthropic-compatible Messages.
    Anthropic => [Anthropic] "anthropic";
    /// Google Generative Language.
    Gemini => [Gemini] "gemini";
    /// Google Vertex AI publishers' models.
    Vertex => [Vertex] "vertex";
    /// Azure OpenAI deployments.
    AzureOpenAi => [AzureOpenAi] "azure-openai";
    /// Amazon Bedrock runtime.
    Bedrock => [Bedrock] "bedrock";
    /// Cohere.
    Cohere => [Cohere] "cohere";
    /// Ollama-compatible.
    Ollama => [Ollama] "ollama";
    /// Model Context Protocol.
    Mcp(Generation) => [Mcp(Generation::Unknown)] "mcp", [Mcp(Generation::Sse2024)] "mcp-2024",
        [Mcp(Generation::Session2025)] "mcp-2025", [Mcp(Generation::Stateless2026)] "mcp-2026";
    /// Agent2Agent.
    A2a => [A2a] "a2a";
    /// KServe Open Inference Protocol, NVIDIA Triton.
    KServe => [KServe] "kserve";
    /// llama.cpp server.
    LlamaCpp => [LlamaCpp] "llama-cpp";
    /// LM Studio.
    LmStudio => [LmStudio] "lm-studio";
    /// KoboldCpp-compatible.
    KoboldCpp => [KoboldCpp] "koboldcpp";
    /// vLLM.
    Vllm => [Vllm] "vllm";
    /// SGLang.
    Sglang => [Sglang] "sglang";
    /// Text Generation Inference.
    Tgi => [Tgi] "tgi";
    /// text-generation-webui.
    TextGenWebUi => [TextGenWebUi] "text-generation-webui";
    /// LiteLLM proxy.
    LiteLlm => [LiteLlm] "litellm";
    /// Open WebUI.
    OpenWebUi => [OpenWebUi] "open-webui";
    /// LocalAI.
    LocalAi => [LocalAi] "localai";
    /// Docker Model Runner.
    DockerModels => [DockerModels] "docker-models";
    /// Stable Diffusion web UI.
    SdWebUi => [SdWebUi] "sd-webui";
    /// ComfyUI.
    ComfyUi => [ComfyUi] "comfyui";
    /// InvokeAI.
    InvokeAi => [InvokeAi] "invokeai";
    /// Dify application.
    Dify => [Dify] "dify";
    /// Flowise.
    Flowise => [Flowise] "flowise";
    /// AnythingLLM.
    AnythingLlm => [AnythingLlm] "anythingllm";
    /// LangGraph server.
    LangGraph => [LangGraph] "langgraph";
    /// Web face of ChatGPT.
    ChatGpt => [ChatGpt] "chatgpt-web";
    /// Web face of Claude.
    ClaudeWeb => [ClaudeWeb] "claude-web";
    /// Claude Code.
    ClaudeCode => [ClaudeCode] "claude-code";
    /// Codex.
    Codex => [Codex] "codex";
    /// GitHub Copilot.
    Copilot => [Copilot] "copilot";
}

impl Act {
    /// Every act.
    pub const ALL: &[Act] = &[
        Act::Generate,
        Act::Embed,
        Act::Models,
        Act::Tool,
        Act::Session,
        Act::Card,
        Act::Upload,
        Act::Health,
        Act::Other,
    ];
}

impl Api {
    /// Puts the two together.
    pub const fn new(family: Family, act: Act) -> Self {
        Self { family, act }
    }

    /// The API with this stable id, as [`Api::name`] gives it.
    pub fn from_name(name: &str) -> Option<Api> {
        let known = Family::ALL.iter().find(|family| {
            name.strip_prefix(family.name()).is_some_and(|rest| rest.starts_with('.'))
        })?;
        Act::ALL.iter().map(|&act| Api::new(*known, act)).find(|api| api.name() == name)
    }
}

/// What a request target says, and what else it takes to believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The API meant.
    pub api: Api,
    /// Whether the target is enough.
    pub proof: Proof,
}

/// What it takes to believe a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The path alone: nobody else has it.
    Path,
    /// The path, and an answer of this media type.
    Answer(Content),
    /// The path, and a header field or a fixed marker in a body.
    Sign,
}

/// Media types that tell something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Absent or of no interest.
    #[default]
    Other,
    /// application/json and its kin.
    Json,
    /// text/plain.
    Plain,
    /// text/event-stream.
    Events,
    /// application/x-ndjson, application/jsonl.
    JsonLines,
    /// application/vnd.amazon.eventstream.
    AwsEvents,
}

impl Content {
    /// Reads the value of a Content-Type field (RFC 9110 §8.3).
    pub fn from_field(value: &[u8]) -> Content {
        let media = value.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        let is = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
        let json_kin = || {
            media.len().checked_sub(5).and_then(|at| media.get(at..)).is_some_and(|end| {
                end.eq_ignore_ascii_case(b"+json") || end.eq_ignore_ascii_case(b"/json")
            })
        };
        match () {
            () if is("text/event-stream") => Content::Events,
            () if is("text/plain") => Content::Plain,
            () if is("application/x-ndjson") || is("application/jsonl") => Content::JsonLines,
            () if is("application/vnd.amazon.eventstream") => Content::AwsEvents,
            () if json_kin() => Content::Json,
            () => Content::Other,
        }
    }

    /// `true` for a body of events or lines that come as they are made.
    pub fn is_streamed(self) -> bool {
        matches!(self, Content::Events | Content::JsonLines | Content::AwsEvents)
    }
}

/// What the header fields of one request or one answer say, without any of their values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    /// A field only an AI SDK or agent sends is there.
    pub sdk: bool,
    /// Media type of the body.
    pub content: Content,
    /// The client takes text/event-stream.
    pub takes_events: bool,
    /// A field of the API itself is there.
    family: Option<Family>,
    /// A field that names the program is there: it refines the family.
    program: Option<Family>,
    /// Not a proof, but makes a path of this family believable.
    likely: Option<Family>,
    mcp: Option<Mcp>,
}

#[derive(Clone, Copy, Debug)]
struct Mcp {
    generation: Generation,
    act: Option<Act>,
}

impl Fields {
    /// Notes a request field; `name` in lower case.
    pub fn request_field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"content-type" => self.content = Content::from_field(value),
            b"accept" => self.takes_events = contains(value, b"text/event-stream"),
            b"user-agent" if value.starts_with(b"ollama") => self.likely = Some(Family::Ollama),
            b"anthropic-version" | b"anthropic-beta" => self.sdk_of(Family::Anthropic),
            b"openai-organization" if value.starts_with(b"github-copilot") => {
                self.program(Family::Copilot);
            }
            b"openai-beta" | b"openai-organization" | b"openai-project" => {
                self.sdk_of(Family::OpenAi);
            }
            b"x-goog-api-client" if contains(value, b"genai") => self.sdk_of(Family::Gemini),
            b"originator" if value.starts_with(b"codex") => self.program(Family::Codex),
            b"copilot-integration-id" | b"openai-intent" => self.program(Family::Copilot),
            b"x-claude-code-session-id" => self.program(Family::ClaudeCode),
            b"x-factory-client" | b"x-initiator" => self.sdk = true,
            b"a2a-version" | b"a2a-extensions" => self.family = Some(Family::A2a),
            b"inference-header-content-length" => self.family = Some(Family::KServe),
            b"mcp-method" => self.mcp(Generation::Stateless2026, Some(rpc_act(value))),
            b"mcp-name" => self.mcp(Generation::Stateless2026, None),
            b"mcp-session-id" => self.mcp(Generation::Session2025, None),
            b"mcp-protocol-version" => self.mcp(generation(value), None),
            _ if name.starts_with(b"mcp-param-") => self.mcp(Generation::Stateless2026, None),
            _ if name.starts_with(b"x-codex-") => self.program(Family::Codex),
            _ if name.starts_with(b"x-stainless-") || name.starts_with(b"x-dashscope") => {
                self.sdk = true;
            }
            _ => {}
        }
    }

    /// Notes the port that the request names for its server.
    pub fn request_port(&mut self, port: u16) {
        /// Where Ollama listens unless told otherwise; believed only together with its path.
        const OLLAMA_PORT: u16 = 11434;
        if port == OLLAMA_PORT {
            self.likely = Some(Family::Ollama);
        }
    }

    /// Notes a response field; `name` in lower case.
    pub fn response_field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"content-type" => self.content = Content::from_field(value),
            b"server" if value.starts_with(b"llama.cpp") => self.program = Some(Family::LlamaCpp),
            b"server" if value.starts_with(b"ConcedoLlamaForKoboldServer") => {
                self.program = Some(Family::KoboldCpp);
            }
            b"x-compute-type" => self.program = Some(Family::Tgi),
            b"openai-processing-ms" | b"openai-version" | b"openai-model" => {
                self.family = Some(Family::OpenAi);
            }
            b"anthropic-organization-id" => self.family = Some(Family::Anthropic),
            b"azureml-model-session" => self.family = Some(Family::AzureOpenAi),
            b"a2a-version" => self.family = Some(Family::A2a),
            b"inference-header-content-length" => self.family = Some(Family::KServe),
            b"mcp-session-id" => self.mcp(Generation::Session2025, Some(Act::Session)),
            b"mcp-protocol-version" => self.mcp(generation(value), None),
            _ if name.starts_with(b"x-litellm-") => self.program = Some(Family::LiteLlm),
            _ if name.starts_with(b"x-codex-") => self.program = Some(Family::Codex),
            _ if name.starts_with(b"anthropic-ratelimit-") => {
                self.family = Some(Family::Anthropic);
            }
            _ if name.starts_with(b"x-amzn-bedrock-") => self.family = Some(Family::Bedrock),
            _ => {}
        }
    }

    fn sdk_of(&mut self, family: Family) {
        self.sdk = true;
        self.family = Some(family);
    }

    fn program(&mut self, family: Family) {
        self.sdk = true;
        self.program = Some(family);
    }

    fn mcp(&mut self, generation: Generation, act: Option<Act>) {
        let before = self.mcp.unwrap_or(Mcp { generation, act });
        self.mcp =
            Some(Mcp { generation: before.generation.max(generation), act: before.act.or(act) });
    }
}

/// What a request says, once all its fields are noted: the target's sign, made sure, refined by
/// the program, or replaced by a field that is clearer. `None` if nothing was seen.
pub fn request(method: &[u8], target: Option<Sign>, fields: &Fields) -> Option<Sign> {
    let sure = |family, act| Some(Sign { api: Api::new(family, act), proof: Proof::Path });
    if let Some(mcp) = fields.mcp {
        let act = mcp.act.unwrap_or(if method == b"POST" { Act::Other } else { Act::Session });
        return sure(Family::Mcp(mcp.generation), act);
    }
    let Some(sign) = target else {
        return fields.family.and_then(|family| sure(family, Act::Other));
    };
    if let Some(program) = fields.program {
        return sure(program, sign.api.act);
    }
    let family = Some(sign.api.family);
    if fields.family == family || fields.likely == family || (fields.sdk && speaks_sdk(sign.api)) {
        return sure(sign.api.family, sign.api.act);
    }
    Some(sign)
}

/// APIs that the SDKs with telling fields speak.
fn speaks_sdk(api: Api) -> bool {
    matches!(api.family, Family::OpenAi | Family::Anthropic | Family::Gemini | Family::Cohere)
}

/// What an answer says, given the sign of its request.
pub fn response(asked: Option<Sign>, fields: &Fields) -> Option<Api> {
    let asked_act = asked.map(|sign| sign.api.act);
    if let Some(mcp) = fields.mcp {
        return Some(Api::new(Family::Mcp(mcp.generation), mcp.act.unwrap_or(Act::Other)));
    }
    if let Some(family) = fields.program.or(fields.family) {
        return Some(Api::new(family, asked_act.unwrap_or(Act::Other)));
    }
    let sign = asked?;
    (sign.proof == Proof::Answer(fields.content)).then_some(sign.api)
}

/// Which of its rows a request target matches; method in upper case, target as written.
pub fn target(method: &[u8], target: &[u8]) -> Option<Sign> {
    let verb = match method {
        b"GET" | b"HEAD" => Verb::Get,
        b"POST" | b"PUT" => Verb::Post,
        b"DELETE" => Verb::Any,
        _ => return None,
    };
    let path = path_of(target)?;
    PATHS
        .iter()
        .filter(|row| row.0 == verb || row.0 == Verb::Any)
        .find(|row| ends_alike(row.1, path) && matches(row.1, path))
        .map(|row| Sign { api: Api::new(row.2, row.3), proof: row.4 })
}

/// The path of a target: without scheme, authority, query, and the slash at its end.
fn path_of(target: &[u8]) -> Option<&[u8]> {
    let target = match target.windows(3).take(8).position(|w| w == b"://") {
        Some(at) => {
            let rest = target.get(at.checked_add(3)?..)?;
            rest.get(rest.iter().position(|&b| b == b'/')?..)?
        }
        None => target,
    };
    let path = target.split(|&b| b == b'?' || b == b'#').next()?;
    let path = path.strip_suffix(b"/").unwrap_or(path);
    (path.len() <= MATCH_BYTES_MAX && target.starts_with(b"/")).then_some(path)
}

/// A cheap look that spares most rows the full match: the last byte.
fn ends_alike(pattern: &str, path: &[u8]) -> bool {
    let last = pattern.as_bytes().last();
    last == Some(&b'*') || last == path.last()
}

/// Matches by segments, from the last one: `**` in front or behind (not both) stands for any
/// number of segments, `*` in a segment for one byte or more.
fn matches(pattern: &str, path: &[u8]) -> bool {
    if let Some(head) = pattern.strip_suffix("/**") {
        let slashes = head.bytes().filter(|&b| b == b'/').count();
        let cut = path.iter().enumerate().filter(|&(_, &b)| b == b'/').nth(slashes);
        return match cut {
            Some((at, _)) => matches(head, path.get(..at).unwrap_or_default()),
            None => matches(head, path),
        };
    }
    let mut segments = path.rsplit(|&b| b == b'/');
    for want in pattern.rsplit('/') {
        if want == "**" {
            return true;
        }
        let Some(segment) = segments.next() else { return false };
        let fits = match want.split_once('*') {
            None => segment == want.as_bytes(),
            Some((front, back)) => {
                segment.len() > front.len().saturating_add(back.len())
                    && segment.starts_with(front.as_bytes())
                    && segment.ends_with(back.as_bytes())
            }
        };
        if !fits {
            return false;
        }
    }
    segments.next().is_none()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Any,
}

struct Row(Verb, &'static str, Family, Act, Proof);

/// MCP of a revision that the path does not tell.
const MCP: Family = Family::Mcp(Generation::Unknown);
/// MCP with HTTP and SSE.
const MCP_SSE: Family = Family::Mcp(Generation::Sse2024);

/// Paths, first match counts: the special before the general.
#[rustfmt::skip]
const PATHS: &[Row] = {
    use Act::{Card, Embed, Generate, Health, Models, Other, Session, Tool, Upload};
    use Content::{Events, JsonLines};
    use Family as F;
    use Proof::{Answer, Path, Sign};
    use Verb::{Any, Get, Post};
    &[
        // Azure OpenAI, Docker, Copilot, Codex and the web faces, whose paths end like OpenAI's.
        Row(Post, "**/openai/deployments/*/embeddings", F::AzureOpenAi, Embed, Path),
        Row(Post, "**/openai/deployments/*/chat/completions", F::AzureOpenAi, Generate, Path),
        Row(Post, "**/openai/deployments/*/extensions/chat/completions", F::AzureOpenAi, Generate, Path),
        Row(Post, "**/openai/deployments/*/completions", F::AzureOpenAi, Generate, Path),
        Row(Post, "**/openai/deployments/*/images/*", F::AzureOpenAi, Generate, Path),
        Row(Post, "**/openai/deployments/*/audio/*", F::AzureOpenAi, Generate, Path),
        Row(Any, "**/openai/deployments", F::AzureOpenAi, Models, Path),
        Row(Post, "**/engines/v1/chat/completions", F::DockerModels, Generate, Path),
        Row(Post, "**/engines/v1/completions", F::DockerModels, Generate, Path),
        Row(Post, "**/engines/v1/embeddings", F::DockerModels, Embed, Path),
        Row(Get, "**/engines/v1/models", F::DockerModels, Models, Path),
        Row(Post, "**/engines/*/v1/chat/completions", F::DockerModels, Generate, Path),
        Row(Post, "**/engines/*/v1/embeddings", F::DockerModels, Embed, Path),
        Row(Get, "**/engines/*/v1/models", F::DockerModels, Models, Path),
        Row(Post, "**/v1/engines/copilot*/completions", F::Copilot, Generate, Path),
        Row(Post, "**/v1/engines/*copilot/completions", F::Copilot, Generate, Path),
        Row(Any, "/copilot_internal/**", F::Copilot, Session, Path),
        Row(Post, "**/backend-api/codex/responses", F::Codex, Generate, Path),
        Row(Any, "/backend-api/codex/**", F::Codex, Other, Path),
        Row(Post, "/backend-api/conversation", F::ChatGpt, Generate, Path),
        Row(Post, "/backend-api/f/conversation", F::ChatGpt, Generate, Path),
        Row(Post, "/backend-anon/conversation", F::ChatGpt, Generate, Path),
        Row(Post, "/backend-anon/f/conversation", F::ChatGpt, Generate, Path),
        Row(Post, "/backend-api/files", F::ChatGpt, Upload, Path),
        Row(Post, "/api/organizations/*/chat_conversations/*/completion", F::ClaudeWeb, Generate, Path),
        Row(Post, "/api/organizations/*/chat_conversations/*/retry_completion", F::ClaudeWeb, Generate, Path),
        Row(Any, "/api/organizations/*/chat_conversations/**", F::ClaudeWeb, Other, Path),
        Row(Any, "/api/claude_code/**", F::ClaudeCode, Other, Path),
        Row(Any, "/api/claude_cli/**", F::ClaudeCode, Session, Path),
        Row(Any, "/api/oauth/claude_cli/**", F::ClaudeCode, Session, Path),
        Row(Get, "/mcp-registry/v0/servers", F::ClaudeCode, Session, Path),
        // LM Studio, KoboldCpp, Open WebUI and others with paths of their own.
        Row(Post, "/api/v0/chat/completions", F::LmStudio, Generate, Path),
        Row(Post, "/api/v0/completions", F::LmStudio, Generate, Path),
        Row(Post, "/api/v0/embeddings", F::LmStudio, Embed, Path),
        Row(Get, "/api/v0/models", F::LmStudio, Models, Sign),
        Row(Post, "**/api/extra/generate/stream", F::KoboldCpp, Generate, Path),
        Row(Get, "**/api/extra/version", F::KoboldCpp, Health, Path),
        Row(Any, "/api/extra/**", F::KoboldCpp, Other, Sign),
        Row(Post, "/api/v1/generate", F::KoboldCpp, Generate, Sign),
        Row(Get, "/api/v1/info/version", F::KoboldCpp, Health, Sign),
        Row(Post, "**/ollama/api/chat", F::OpenWebUi, Generate, Path),
        Row(Post, "**/ollama/api/generate", F::OpenWebUi, Generate, Path),
        Row(Get, "**/ollama/api/tags", F::OpenWebUi, Models, Path),
        Row(Any, "**/ollama/api/*", F::OpenWebUi, Other, Path),
        Row(Get, "/api/config", F::OpenWebUi, Other, Sign),
        Row(Any, "/v1/internal/model/**", F::TextGenWebUi, Models, Path),
        Row(Get, "/models/available", F::LocalAi, Models, Path),
        Row(Post, "/models/apply", F::LocalAi, Models, Path),
        Row(Post, "/sdapi/v1/txt2img", F::SdWebUi, Generate, Path),
        Row(Post, "/sdapi/v1/img2img", F::SdWebUi, Generate, Path),
        Row(Any, "/sdapi/v1/*", F::SdWebUi, Other, Path),
        Row(Post, "/prompt", F::ComfyUi, Generate, Sign),
        Row(Get, "/system_stats", F::ComfyUi, Health, Sign),
        Row(Post, "/api/v1/queue/*/enqueue_batch", F::InvokeAi, Generate, Path),
        Row(Post, "**/v1/chat-messages", F::Dify, Generate, Path),
        Row(Post, "**/v1/completion-messages", F::Dify, Generate, Path),
        Row(Post, "**/api/v1/prediction/*", F::Flowise, Generate, Path),
        Row(Post, "**/api/v1/workspace/*/chat", F::AnythingLlm, Generate, Path),
        Row(Post, "**/api/v1/workspace/*/stream-chat", F::AnythingLlm, Generate, Path),
        Row(Post, "**/threads/*/runs/stream", F::LangGraph, Generate, Path),
        Row(Post, "**/threads/*/runs/wait", F::LangGraph, Generate, Path),
        // Google.
        Row(Post, "**/publishers/*/models/*:generateContent", F::Vertex, Generate, Path),
        Row(Post, "**/publishers/*/models/*:streamGenerateContent", F::Vertex, Generate, Path),
        Row(Post, "**/publishers/*/models/*:rawPredict", F::Vertex, Generate, Path),
        Row(Post, "**/publishers/*/models/*:streamRawPredict", F::Vertex, Generate, Path),
        Row(Post, "**/publishers/*/models/*:predict", F::Vertex, Generate, Path),
        Row(Post, "**/publishers/*/models/*:countTokens", F::Vertex, Other, Path),
        Row(Post, "/google.cloud.aiplatform.v1*.PredictionService/*", F::Vertex, Generate, Path),
        Row(Post, "**/models/*:generateContent", F::Gemini, Generate, Path),
        Row(Post, "**/models/*:streamGenerateContent", F::Gemini, Generate, Path),
        Row(Post, "**/tunedModels/*:generateContent", F::Gemini, Generate, Path),
        Row(Post, "**/models/*:embedContent", F::Gemini, Embed, Path),
        Row(Post, "**/models/*:batchEmbedContents", F::Gemini, Embed, Path),
        Row(Post, "**/models/*:countTokens", F::Gemini, Other, Path),
        Row(Post, "/v1internal:*enerateContent", F::Gemini, Generate, Path),
        Row(Post, "/v1internal:*odeAssist", F::Gemini, Session, Path),
        Row(Get, "/ws/*.BidiGenerateContent", F::Gemini, Session, Path),
        Row(Post, "/google.ai.generativelanguage.v1*.GenerativeService/*", F::Gemini, Generate, Path),
        Row(Post, "/upload/v1beta/files", F::Gemini, Upload, Path),
        Row(Get, "/v1beta/models", F::Gemini, Models, Sign),
        // Amazon Bedrock.
        Row(Post, "/model/*/invoke", F::Bedrock, Generate, Path),
        Row(Post, "/model/*/invoke-with-response-stream", F::Bedrock, Generate, Path),
        Row(Post, "/model/*/invoke-with-bidirectional-stream", F::Bedrock, Generate, Path),
        Row(Post, "/model/*/converse", F::Bedrock, Generate, Path),
        Row(Post, "/model/*/converse-stream", F::Bedrock, Generate, Path),
        Row(Post, "/agents/*/agentAliases/*/sessions/*/text", F::Bedrock, Generate, Path),
        Row(Get, "/foundation-models", F::Bedrock, Models, Path),
        // OpenAI, whatever the prefix.
        Row(Post, "**/chat/completions", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/completions", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/engines/*/completions", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/responses", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/responses/compact", F::OpenAi, Generate, Path),
        Row(Any, "**/v1/responses/*", F::OpenAi, Other, Sign),
        Row(Post, "/responses", F::OpenAi, Generate, Answer(Events)),
        Row(Post, "**/v1/embeddings", F::OpenAi, Embed, Path),
        Row(Post, "/embeddings", F::OpenAi, Embed, Sign),
        Row(Post, "**/v1/images/generations", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/images/edits", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/images/variations", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/audio/transcriptions", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/audio/translations", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/audio/speech", F::OpenAi, Generate, Path),
        Row(Post, "**/v1/videos", F::OpenAi, Generate, Sign),
        Row(Post, "**/v1/moderations", F::OpenAi, Other, Path),
        Row(Any, "**/v1/realtime", F::OpenAi, Session, Path),
        Row(Post, "**/v1/realtime/*", F::OpenAi, Session, Path),
        Row(Post, "**/v1/threads/*/runs", F::OpenAi, Generate, Path),
        Row(Any, "**/v1/threads", F::OpenAi, Session, Sign),
        Row(Any, "**/v1/assistants", F::OpenAi, Other, Sign),
        Row(Any, "**/v1/fine_tuning/jobs", F::OpenAi, Other, Path),
        Row(Post, "**/v1/vector_stores/*/files", F::OpenAi, Upload, Path),
        Row(Any, "**/v1/vector_stores", F::OpenAi, Other, Path),
        Row(Post, "**/v1/files", F::OpenAi, Upload, Sign),
        Row(Post, "**/v1/uploads", F::OpenAi, Upload, Sign),
        Row(Post, "**/v1/uploads/*/parts", F::OpenAi, Upload, Sign),
        Row(Get, "**/v1/models", F::OpenAi, Models, Sign),
        Row(Get, "**/v1/models/*", F::OpenAi, Models, Sign),
        Row(Get, "/models", F::OpenAi, Models, Sign),
        // Anthropic; WhatsApp's and others' `/v1/messages` want the second proof.
        Row(Post, "**/v1/messages/count_tokens", F::Anthropic, Other, Path),
        Row(Any, "**/v1/messages/batches", F::Anthropic, Generate, Path),
        Row(Get, "/v1/messages/batches/**", F::Anthropic, Other, Path),
        Row(Post, "**/v1/messages", F::Anthropic, Generate, Answer(Events)),
        Row(Post, "**/v1/complete", F::Anthropic, Generate, Answer(Events)),
        // Cohere.
        Row(Post, "**/v2/chat", F::Cohere, Generate, Answer(Events)),
        Row(Post, "**/v2/embed", F::Cohere, Embed, Sign),
        Row(Post, "**/v2/rerank", F::Cohere, Embed, Sign),
        // Ollama: short common words, so the answer or the client must agree.
        Row(Post, "/api/chat", F::Ollama, Generate, Answer(JsonLines)),
        Row(Post, "/api/generate", F::Ollama, Generate, Answer(JsonLines)),
        Row(Post, "/api/embed", F::Ollama, Embed, Sign),
        Row(Post, "/api/embeddings", F::Ollama, Embed, Sign),
        Row(Get, "/api/tags", F::Ollama, Models, Sign),
        Row(Get, "/api/ps", F::Ollama, Models, Sign),
        Row(Get, "/api/version", F::Ollama, Health, Sign),
        Row(Post, "/api/show", F::Ollama, Models, Sign),
        Row(Post, "/api/pull", F::Ollama, Models, Answer(JsonLines)),
        Row(Post, "/api/push", F::Ollama, Upload, Answer(JsonLines)),
        Row(Post, "/api/create", F::Ollama, Models, Answer(JsonLines)),
        Row(Post, "/api/copy", F::Ollama, Models, Sign),
        Row(Any, "/api/delete", F::Ollama, Models, Sign),
        Row(Get, "/api/status", F::Ollama, Health, Sign),
        Row(Post, "/api/me", F::Ollama, Session, Sign),
        Row(Any, "/api/blobs/sha256:*", F::Ollama, Upload, Path),
        // Model servers without a prefix of their own.
        Row(Post, "**/v2/models/*/infer", F::KServe, Generate, Path),
        Row(Post, "**/v2/models/*/versions/*/infer", F::KServe, Generate, Path),
        Row(Post, "**/v2/models/*/generate", F::KServe, Generate, Path),
        Row(Post, "**/v2/models/*/generate_stream", F::KServe, Generate, Path),
        Row(Get, "**/v2/models/*/ready", F::KServe, Health, Path),
        Row(Get, "**/v2/health/ready", F::KServe, Health, Path),
        Row(Get, "**/v2/health/live", F::KServe, Health, Path),
        Row(Post, "**/v2/repository/index", F::KServe, Models, Path),
        Row(Post, "**/v1/models/*:predict", F::KServe, Generate, Path),
        Row(Post, "/inference.GRPCInferenceService/ModelInfer", F::KServe, Generate, Path),
        Row(Post, "/inference.GRPCInferenceService/ModelStreamInfer", F::KServe, Generate, Path),
        Row(Post, "/inference.GRPCInferenceService/*", F::KServe, Other, Path),
        Row(Post, "/completion", F::LlamaCpp, Generate, Sign),
        Row(Post, "/infill", F::LlamaCpp, Generate, Sign),
        Row(Post, "/tokenize", F::LlamaCpp, Other, Sign),
        Row(Get, "/props", F::LlamaCpp, Models, Sign),
        Row(Get, "/slots", F::LlamaCpp, Other, Sign),
        Row(Get, "/get_model_info", F::Sglang, Models, Path),
        Row(Get, "/get_server_info", F::Sglang, Health, Path),
        Row(Post, "/generate_stream", F::Tgi, Generate, Answer(Events)),
        Row(Post, "/generate", F::Tgi, Generate, Answer(Events)),
        Row(Get, "/info", F::Tgi, Models, Sign),
        Row(Post, "/v1/load_lora_adapter", F::Vllm, Models, Path),
        // Agents.
        Row(Get, "**/.well-known/agent-card.json", F::A2a, Card, Path),
        Row(Get, "**/.well-known/agent.json", F::A2a, Card, Path),
        Row(Post, "**/message:send", F::A2a, Generate, Path),
        Row(Post, "**/message:stream", F::A2a, Generate, Path),
        Row(Post, "/*a2a.v1.A2AService/SendMessage", F::A2a, Generate, Path),
        Row(Post, "/*a2a.v1.A2AService/SendStreamingMessage", F::A2a, Generate, Path),
        Row(Post, "/*a2a.v1.A2AService/*", F::A2a, Session, Path),
        Row(Post, "/a2a.v1.A2AService/*", F::A2a, Session, Path),
        Row(Get, "/.well-known/mcp/server-card.json", MCP, Card, Path),
        Row(Get, "/.well-known/mcp.json", MCP, Card, Path),
        Row(Get, "/.well-known/oauth-protected-resource/mcp", MCP, Session, Path),
        Row(Post, "**/mcp", MCP, Session, Answer(Events)),
        Row(Any, "**/mcp", MCP, Session, Sign),
        Row(Get, "**/sse", MCP_SSE, Session, Sign),
        Row(Post, "**/messages", MCP_SSE, Tool, Sign),
        Row(Post, "**/message", MCP_SSE, Tool, Sign),
        // The root: an A2A agent's default, and where model servers greet.
        Row(Post, "", F::A2a, Other, Sign),
        Row(Get, "", F::Ollama, Health, Sign),
    ]
};

/// Whether the first bytes of a request body may hold a JSON-RPC method. Never where the target
/// is a known API other than MCP or A2A: those bodies are prompts.
pub fn may_be_rpc(method: &[u8], sign: Option<Sign>, fields: &Fields) -> bool {
    let agents = |sign: Sign| matches!(sign.api.family, Family::Mcp(_) | Family::A2a);
    let named = fields.mcp.is_some_and(|mcp| mcp.act.is_some());
    let open = sign.map_or(fields.takes_events, agents);
    method == b"POST" && fields.content == Content::Json && open && !named
}

/// The API that a JSON-RPC request of MCP or A2A speaks, by fixed words in its first bytes.
///
/// `initialize` alone is nothing: editors' language servers say it too.
pub fn request_body(sign: Option<Sign>, head: &[u8]) -> Option<Api> {
    let mut room = [0; WINDOW_MAX];
    let body = squeeze(head, &mut room);
    let method = after(body, b"\"method\":\"")?;
    let method = method.split(|&b| b == b'"').next()?;
    let act = rpc_act(method);
    let asked = sign.map(|sign| sign.api.family);
    let said = after(body, b"\"protocolVersion\":\"").map_or(Generation::Unknown, generation);
    let generation = match asked {
        Some(Family::Mcp(asked)) => asked.max(said),
        _ => said,
    };
    let mcp = Some(Api::new(Family::Mcp(generation), act));
    match method {
        b"initialize" if said != Generation::Unknown || contains(body, b"\"clientInfo\":") => mcp,
        b"tools/call"
        | b"tools/list"
        | b"server/discover"
        | b"resources/list"
        | b"resources/read"
        | b"resources/templates/list"
        | b"resources/subscribe"
        | b"prompts/list"
        | b"prompts/get"
        | b"completion/complete"
        | b"logging/setLevel"
        | b"subscriptions/listen"
        | b"notifications/initialized" => mcp,
        b"ping" if matches!(asked, Some(Family::Mcp(_))) => mcp,
        b"SendMessage"
        | b"SendStreamingMessage"
        | b"message/send"
        | b"message/stream"
        | b"tasks/send"
        | b"tasks/sendSubscribe" => Some(Api::new(Family::A2a, Act::Generate)),
        b"GetExtendedAgentCard" | b"agent/getAuthenticatedExtendedCard" => {
            Some(Api::new(Family::A2a, Act::Card))
        }
        b"GetTask" | b"CancelTask" | b"SubscribeToTask" | b"tasks/resubscribe" => {
            Some(Api::new(Family::A2a, Act::Session))
        }
        _ => None,
    }
}

/// Act of a JSON-RPC method of MCP.
fn rpc_act(method: &[u8]) -> Act {
    match method {
        b"tools/call" => Act::Tool,
        b"initialize"
        | b"server/discover"
        | b"subscriptions/listen"
        | b"notifications/initialized"
        | b"ping" => Act::Session,
        b"sampling/createMessage" => Act::Generate,
        b"tools/list" | b"resources/list" | b"prompts/list" | b"resources/templates/list" => {
            Act::Card
        }
        _ => Act::Other,
    }
}

/// Generation of an MCP revision, which is a date.
fn generation(version: &[u8]) -> Generation {
    match version.get(..5) {
        Some(b"2024-") => Generation::Sse2024,
        Some(b"2025-") => Generation::Session2025,
        Some([b'2', b'0', b'2'..=b'9', b'0'..=b'9', b'-']) => Generation::Stateless2026,
        _ => Generation::Unknown,
    }
}

/// Whether the first bytes of an answer may hold a server's own signature. Never where something
/// was generated, embedded, called or sent: those answers belong to people.
pub fn may_be_signed(asked: Option<Sign>, content: Content) -> bool {
    let own = |act| matches!(act, Act::Models | Act::Health | Act::Session | Act::Other);
    asked.is_some_and(|sign| own(sign.api.act))
        && matches!(content, Content::Json | Content::Plain | Content::Events)
}

/// Fixed words in a server's own answer: how it starts, what must be within, whom it was asked of.
struct Marker(&'static str, &'static [&'static str], Option<Family>, Family, Act);

/// Markers without white space, first match counts.
#[rustfmt::skip]
const MARKERS: &[Marker] = {
    use Act::{Health, Models, Other, Session};
    use Family as F;
    &[
        Marker("Ollamaisrunning", &[], None, F::Ollama, Health),
        Marker("{\"result\":\"KoboldCpp\"", &[], None, F::KoboldCpp, Health),
        Marker("{\"error\":\"Unexpectedendpointormethod.(", &[], None, F::LmStudio, Other),
        Marker("", &["\"owned_by\":\"vllm\""], None, F::Vllm, Models),
        Marker("", &["\"owned_by\":\"sglang\""], None, F::Sglang, Models),
        Marker("", &["\"owned_by\":\"llamacpp\""], None, F::LlamaCpp, Models),
        Marker("", &["\"owned_by\":\"koboldcpp\""], None, F::KoboldCpp, Models),
        Marker("", &["\"owned_by\":\"organization_owner\""], None, F::LmStudio, Models),
        Marker("", &["\"owned_by\":\"library\""], None, F::Ollama, Models),
        Marker("{\"models\":[{\"name\":\"models/", &[], None, F::Gemini, Models),
        Marker("{\"models\":[{\"name\":\"", &["\"model\":\""], Some(F::Ollama), F::Ollama, Models),
        Marker("{\"object\":\"list\",\"data\":[{", &["\"object\":\"model\""], None, F::OpenAi, Models),
        Marker("", &["\"object\":\"model\"", "\"owned_by\":\""], None, F::OpenAi, Models),
        Marker("{\"data\":[{\"type\":\"model\",", &[], None, F::Anthropic, Models),
        Marker("", &["\"model_id\":", "\"model_sha\":"], Some(F::Tgi), F::Tgi, Models),
        Marker("", &["\"name\":\"OpenWebUI\""], None, F::OpenWebUi, Other),
        Marker("", &["\"default_generation_settings\":"], None, F::LlamaCpp, Models),
        Marker("{\"system\":{", &["\"comfyui_version\":"], None, F::ComfyUi, Health),
        Marker("event:endpointdata:/", &[], None, MCP_SSE, Session),
    ]
};

/// The API that a server names itself by, in the first bytes of an answer.
pub fn response_body(asked: Option<Sign>, head: &[u8]) -> Option<Api> {
    let mut room = [0; WINDOW_MAX];
    let body = squeeze(head, &mut room);
    let asked = asked.map(|sign| sign.api.family);
    let found = MARKERS.iter().find(|Marker(start, within, of, ..)| {
        body.starts_with(start.as_bytes())
            && within.iter().all(|words| contains(body, words.as_bytes()))
            && (of.is_none() || *of == asked)
    });
    if let Some(&Marker(.., family, act)) = found {
        return Some(Api::new(family, act));
    }
    let version = after(body, b"\"result\":{\"protocolVersion\":\"")?;
    match generation(version) {
        Generation::Unknown => None,
        said => Some(Api::new(Family::Mcp(said), Act::Session)),
    }
}

/// Copies without white space, as JSON may be written with or without.
fn squeeze<'r>(head: &[u8], room: &'r mut [u8; WINDOW_MAX]) -> &'r [u8] {
    let inked = head.iter().filter(|b| !b.is_ascii_whitespace());
    let len = room.iter_mut().zip(inked).map(|(to, &from)| *to = from).count();
    room.get(..len).unwrap_or_default()
}

fn after<'b>(body: &'b [u8], words: &[u8]) -> Option<&'b [u8]> {
    let at = body.windows(words.len()).position(|w| w == words)?;
    body.get(at.checked_add(words.len())?..)
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|w| w == words)
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test may panic, and a table is as long as it is"
)]
mod tests {
    use super::*;

    /// Stable id of what method, target and fields say, with `?` if it wants a second proof.
    fn check(method: &str, path: &str, lines: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.request_field(name.as_bytes(), value.as_bytes());
        }
        let sign = target(method.as_bytes(), path.as_bytes());
        match request(method.as_bytes(), sign, &fields) {
            None => String::new(),
            Some(Sign { api, proof: Proof::Path }) => api.name().into(),
            Some(Sign { api, .. }) => format!("{}?", api.name()),
        }
    }

    #[test]
    fn targets() {
        for (line, expected) in [
            ("POST /v1/chat/completions", "openai.generate"),
            ("POST /openai/v1/chat/completions", "openai.generate"),
            ("POST /api/v1/chat/completions", "openai.generate"),
            ("POST /compatible-mode/v1/chat/completions?x=1", "openai.generate"),
            ("POST http://proxy.example/v1/chat/completions", "openai.generate"),
            ("POST /chat/completions/", "openai.generate"),
            ("OPTIONS /v1/chat/completions", ""),
            ("GET /v1/chat/completions", ""),
            ("POST /v1/xchat/completions", ""),
            ("POST /v1/responses", "openai.generate"),
            ("POST /v1/embeddings", "openai.embed"),
            ("POST /v1/images/generations", "openai.generate"),
            ("POST /v1/audio/transcriptions", "openai.generate"),
            ("GET /v1/realtime?model=x", "openai.session"),
            ("GET /v1/models", "openai.models?"),
            ("GET /v1/models/some-model", "openai.models?"),
            ("POST /v1/files", "openai.upload?"),
            ("POST /v1/messages", "anthropic.generate?"),
            ("POST /v1/messages?beta=true", "anthropic.generate?"),
            ("POST /v1/messages/count_tokens", "anthropic.other"),
            ("POST /v1/messages/batches", "anthropic.generate"),
            ("POST /v1beta/models/g-2:generateContent", "gemini.generate"),
            ("POST /v1beta/models/g-2:streamGenerateContent?alt=sse", "gemini.generate"),
            ("POST /v1beta/models/g-2:embedContent", "gemini.embed"),
            ("POST /v1beta/models/:generateContent", ""),
            ("POST /v1internal:streamGenerateContent", "gemini.generate"),
            (
                "POST /v1/projects/p/locations/l/publishers/google/models/m:generateContent",
                "vertex.generate",
            ),
            (
                "POST /v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict",
                "vertex.generate",
            ),
            ("POST /openai/deployments/d/chat/completions?api-version=1", "azure-openai.generate"),
            ("POST /openai/deployments/d/embeddings", "azure-openai.embed"),
            ("POST /model/a.b-v1%3A0/converse-stream", "bedrock.generate"),
            ("POST /model/a.b/invoke", "bedrock.generate"),
            ("POST /model//invoke", ""),
            ("POST /v2/chat", "cohere.generate?"),
            ("POST /api/chat", "ollama.generate?"),
            ("GET /api/tags", "ollama.models?"),
            ("POST /api/blobs/sha256:00", "ollama.upload"),
            ("GET /", "ollama.health?"),
            ("POST /mcp", "mcp.session?"),
            ("GET /team/mcp", "mcp.session?"),
            ("GET /sse", "mcp-2024.session?"),
            ("POST /messages/?session_id=00", "mcp-2024.tool?"),
            ("GET /.well-known/mcp.json", "mcp.card"),
            ("GET /.well-known/agent-card.json", "a2a.card"),
            ("GET /bot/.well-known/agent.json", "a2a.card"),
            ("POST /v1/message:send", "a2a.generate"),
            ("POST /lf.a2a.v1.A2AService/SendMessage", "a2a.generate"),
            ("POST /v2/models/m/infer", "kserve.generate"),
            ("POST /v2/models/m/versions/2/infer", "kserve.generate"),
            ("GET /v2/health/ready", "kserve.health"),
            ("POST /inference.GRPCInferenceService/ModelInfer", "kserve.generate"),
            ("POST /engines/llama.cpp/v1/chat/completions", "docker-models.generate"),
            ("POST /v1/engines/copilot-codex/completions", "copilot.generate"),
            ("GET /copilot_internal/v2/token", "copilot.session"),
            ("GET /copilot_internal", "copilot.session"),
            ("POST /backend-api/codex/responses", "codex.generate"),
            ("GET /backend-api/codex/models/of/today", "codex.other"),
            ("POST /backend-api/conversation", "chatgpt-web.generate"),
            ("GET /api/claude_cli/bootstrap", "claude-code.session"),
            ("POST /sdapi/v1/txt2img", "sd-webui.generate"),
            ("GET /index.html", ""),
            ("GET *", ""),
            ("CONNECT api.example:443", ""),
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(check(method, path, &[]), expected, "{line}");
        }
    }

    #[test]
    fn fields_make_sure_refine_and_replace() {
        for (line, fields, expected) in [
            ("POST /v1/messages", ("anthropic-version", "2023-06-01"), "anthropic.generate"),
            ("POST /v1/messages", ("x-claude-code-session-id", "s"), "claude-code.generate"),
            ("GET /v1/models", ("x-stainless-lang", "python"), "openai.models"),
            ("POST /chat/completions", ("copilot-integration-id", "c"), "copilot.generate"),
            ("POST /v1/responses", ("originator", "codex_exec"), "codex.generate"),
            ("POST /v1/responses", ("originator", "somebody"), "openai.generate"),
            ("POST /api/chat", ("user-agent", "ollama/0.1 (amd64 linux)"), "ollama.generate"),
            ("POST /api/chat", ("x-stainless-lang", "js"), "ollama.generate?"),
            ("POST /mcp", ("mcp-method", "tools/call"), "mcp-2026.tool"),
            ("POST /mcp", ("mcp-method", "server/discover"), "mcp-2026.session"),
            ("POST /x", ("mcp-name", "secret"), "mcp-2026.other"),
            ("POST /x", ("mcp-param-city", "secret"), "mcp-2026.other"),
            ("POST /x", ("mcp-session-id", "0"), "mcp-2025.other"),
            ("GET /x", ("mcp-session-id", "0"), "mcp-2025.session"),
            ("DELETE /x", ("mcp-protocol-version", "2025-11-25"), "mcp-2025.session"),
            ("POST /x", ("mcp-protocol-version", "2026-07-28"), "mcp-2026.other"),
            ("POST /x", ("mcp-protocol-version", "odd"), "mcp.other"),
            ("POST /x", ("a2a-version", "1.0"), "a2a.other"),
            ("GET /x", ("x-stainless-lang", "js"), ""),
            ("GET /x", ("x-goog-api-client", "gl-js/1 grpc/2"), ""),
            ("GET /x", ("x-goog-api-client", "google-genai-sdk/1.0 gl-python/3"), "gemini.other"),
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(check(method, path, &[fields]), expected, "{line} {fields:?}");
        }
        let both = [("mcp-session-id", "0"), ("mcp-protocol-version", "2025-06-18")];
        assert_eq!(check("POST", "/mcp", &both), "mcp-2025.other");
    }

    #[test]
    fn a_port_makes_an_ollama_path_believable_and_nothing_else() {
        let mut fields = Fields::default();
        fields.request_port(11434);
        let sign = request(b"GET", target(b"GET", b"/api/tags"), &fields);
        assert_eq!(sign.map(|s| s.proof), Some(Proof::Path));
        assert_eq!(request(b"GET", target(b"GET", b"/index.html"), &fields), None);
    }

    #[test]
    fn answers() {
        for (asked, field, expected) in [
            ("POST /api/chat", ("content-type", "application/x-ndjson"), "ollama.generate"),
            ("POST /api/chat", ("content-type", "application/json"), ""),
            (
                "POST /v1/messages",
                ("content-type", "text/event-stream; charset=utf-8"),
                "anthropic.generate",
            ),
            ("POST /v1/chat/completions", ("server", "llama.cpp"), "llama-cpp.generate"),
            ("POST /v1/chat/completions", ("x-litellm-model-id", "x"), "litellm.generate"),
            ("POST /v1/chat/completions", ("server", "uvicorn"), ""),
            ("GET /", ("server", "ConcedoLlamaForKoboldServer"), "koboldcpp.health"),
            ("POST /mcp", ("mcp-session-id", "00"), "mcp-2025.session"),
            ("POST /mcp", ("content-type", "text/event-stream"), "mcp.session"),
            ("GET /sse", ("content-type", "text/event-stream"), ""),
            ("GET /x", ("openai-processing-ms", "7"), "openai.other"),
        ] {
            let (method, path) = asked.split_once(' ').unwrap();
            let mut fields = Fields::default();
            fields.response_field(field.0.as_bytes(), field.1.as_bytes());
            let sign = target(method.as_bytes(), path.as_bytes());
            let name = response(sign, &fields).map_or("", Api::name);
            assert_eq!(name, expected, "{asked} {field:?}");
        }
    }

    #[test]
    fn markers_in_answers() {
        for (asked, body, expected) in [
            ("/", "Ollama is running", "ollama.health"),
            ("/", r#"{"error":"Unexpected endpoint or method. (GET /)"}"#, "lm-studio.other"),
            ("/", "It works", ""),
            (
                "/api/extra/version",
                r#"{"result": "KoboldCpp", "version": "1.9"}"#,
                "koboldcpp.health",
            ),
            (
                "/v1/models",
                r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#,
                "openai.models",
            ),
            (
                "/v1/models",
                r#"{"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}"#,
                "vllm.models",
            ),
            ("/v1/models", r#"{"data":[{"type":"model","id":"c"}]}"#, "anthropic.models"),
            ("/v1/models", r#"{"data":[{"make":"van"}]}"#, ""),
            ("/api/tags", r#"{"models":[{"name":"l:1","model":"l:1","size":1}]}"#, "ollama.models"),
            ("/api/tags", r#"{"tags":["a"]}"#, ""),
            (
                "/sse",
                "event: endpoint\r\ndata: /messages/?session_id=00\r\n\r\n",
                "mcp-2024.session",
            ),
            (
                "/mcp",
                "event: message\ndata: {\"id\":1,\"result\":{\"protocolVersion\":\"2025-06-18\"",
                "mcp-2025.session",
            ),
        ] {
            let asked = target(b"GET", asked.as_bytes());
            let name = response_body(asked, body.as_bytes()).map_or("", Api::name);
            assert_eq!(name, expected, "{body}");
        }
    }

    #[test]
    fn markers_in_requests() {
        for (body, expected) in [
            (
                r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25"#,
                "mcp-2025.session",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "initialize", "params": {"clientInfo": {"#,
                "mcp.session",
            ),
            (r#"{"method":"initialize","params":{"processId":1,"rootUri":"file:///x"}}"#, ""),
            (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#, "mcp.tool"),
            (r#"{"text":"say \"method\":\"tools/call\" aloud"}"#, ""),
            (r#"{"jsonrpc":"2.0","method":"message/send"}"#, "a2a.generate"),
            (r#"{"jsonrpc":"2.0","method":"eth_call"}"#, ""),
            (r#"{"jsonrpc":"2.0","method":"ping"}"#, ""),
            ("", ""),
        ] {
            let name = request_body(None, body.as_bytes()).map_or("", Api::name);
            assert_eq!(name, expected, "{body}");
        }
        let asked = target(b"POST", b"/messages/?session_id=0");
        let api = request_body(asked, br#"{"method":"tools/call"}"#).map(Api::name);
        assert_eq!(api, Some("mcp-2024.tool"));
    }

    #[test]
    fn bodies_of_prompts_and_answers_are_never_looked_at() {
        let mut fields = Fields::default();
        fields.request_field(b"content-type", b"application/json");
        fields.request_field(b"accept", b"application/json, text/event-stream");
        for path in ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/embeddings"] {
            let sign = target(b"POST", path.as_bytes());
            assert!(sign.is_some(), "{path}");
            assert!(!may_be_rpc(b"POST", sign, &fields), "{path}");
            assert!(!may_be_signed(sign, Content::Json), "{path}");
        }
        assert!(may_be_rpc(b"POST", target(b"POST", b"/mcp"), &fields));
        assert!(!may_be_signed(None, Content::Json));
    }

    #[test]
    fn names_go_there_and_back() {
        let mut seen = std::collections::BTreeSet::new();
        for &family in Family::ALL {
            for &act in Act::ALL {
                let api = Api::new(family, act);
                assert_eq!(Api::from_name(api.name()), Some(api));
                assert!(seen.insert(api.name()), "{}", api.name());
            }
        }
        for wrong in ["", "openai", "openai.", "openai.x", "mcp-2027.tool", "OpenAI.generate"] {
            assert_eq!(Api::from_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_at_the_limit_matches_and_one_beyond_does_not() {
        for (len, expected) in [(1023, true), (1024, true), (1025, false)] {
            let tail = "/v1/chat/completions";
            let path = format!("/{}{tail}", "x".repeat(len - 1 - tail.len()));
            assert_eq!(target(b"POST", path.as_bytes()).is_some(), expected, "{len}");
        }
    }
}
