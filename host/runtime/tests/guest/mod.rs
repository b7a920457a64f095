//! Guests written in a test: a core module in text with the right exports, made into a component.
//!
//! Every function answers well unless its body is replaced. Results are laid out by hand, as the canonical ABI says:
//! a `result` has its discriminant at 0 and its payload at 8, and zeroed memory is a good answer to most questions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Where a zeroed result is: `ok`, and a status that says `created`.
pub(crate) const ZERO: u32 = 4096;
/// Where the answer of `check` is: `ok`, version `7`, no attributes.
pub(crate) const REPORT: u32 = 8192;
/// Where an answer `err(not-found("nothing here"))` is.
pub(crate) const NOT_FOUND: u32 = 8448;
/// Scratch memory for bodies.
pub(crate) const SCRATCH: u32 = 16384;

/// The text of a body that stores words one after the other.
pub(crate) fn words(at: u32, values: &[u32]) -> String {
    let store = |(offset, value): (usize, &u32)| {
        format!("(i32.store (i32.const {}) (i32.const {}))\n", at + 4 * offset as u32, value.cast_signed())
    };
    values.iter().enumerate().map(store).collect()
}

/// Functions of the optional interfaces: what they are called here, their interface, their name in it, and what they take.
const OPTIONAL: [(&str, &str, &str, &str); 11] = [
    ("logs", "logs", "open", "key (param i32 i32 i64 i32 i64 i32 i64 i32 i32 i32)"),
    ("exec", "exec", "run", "(param i32)"),
    ("health-checks", "health-checks", "last", "key"),
    ("attach", "attach", "open", "key (param i32 i32 i32 i32 i32 i32)"),
    ("input", "input", "open", "key"),
    ("stats", "stats", "sample", "(param i32 i32)"),
    ("endpoint", "endpoint", "list", "key"),
    ("pause", "pause", "pause", "key"),
    ("unpause", "pause", "unpause", "key"),
    ("images", "images", "prepare", "(param i32 i32 i32)"),
    ("watch", "watch", "open", ""),
];

/// A guest in the making.
pub(crate) struct Guest {
    bodies: BTreeMap<&'static str, String>,
    imports: String,
    extra: String,
    worlds: Vec<&'static str>,
    world: &'static str,
    wasi: bool,
    memory: String,
    realloc: String,
    post_returns: BTreeMap<&'static str, String>,
    encoding: StringEncoding,
    beside: Vec<u8>,
}

/// The allocator of a polite guest: takes from the end, and grows.
pub(crate) const REALLOC: &str = "
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (if (i32.eq (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1))) (i32.const -1))
        (then unreachable)))
    (local.get $at)";

/// As much of WASI 0.2 as prints a line.
const WASI: [&str; 2] = [
    "package wasi:io@0.2.0;
     interface error { resource error; }
     interface streams {
       use error.{error};
       variant stream-error { last-operation-failed(error), closed }
       resource output-stream {
         blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
       }
     }",
    "package wasi:cli@0.2.0;
     interface stdout {
       use wasi:io/streams@0.2.0.{output-stream};
       get-stdout: func() -> output-stream;
     }",
];

impl Guest {
    /// A backend that answers everything, without optional interfaces.
    pub(crate) fn new() -> Self {
        let mut bodies = BTreeMap::new();
        for function in ["create", "start", "signal", "remove", "inspect", "list"] {
            bodies.insert(function, format!("i32.const {ZERO}"));
        }
        bodies.insert("check", format!("i32.const {REPORT}"));
        bodies.insert("describe", "i32.const 2048".to_owned());
        for (function, ..) in OPTIONAL {
            bodies.insert(function, format!("i32.const {NOT_FOUND}"));
        }
        Self {
            bodies,
            imports: String::new(),
            extra: String::new(),
            worlds: Vec::new(),
            world: "plugin",
            wasi: false,
            memory: "2".to_owned(),
            realloc: REALLOC.to_owned(),
            post_returns: BTreeMap::new(),
            encoding: StringEncoding::UTF8,
            beside: Vec::new(),
        }
    }

    /// Replaces the body of an exported function.
    pub(crate) fn body(mut self, function: &'static str, body: impl Into<String>) -> Self {
        self.bodies.insert(function, body.into());
        self
    }

    /// Replaces the body of `cabi_realloc`: old place, old size, alignment and new size are locals 0 to 3.
    pub(crate) fn realloc(mut self, body: impl Into<String>) -> Self {
        self.realloc = body.into();
        self
    }

    /// What runs when the host has read the answer of a function: the answer's place is local 0.
    pub(crate) fn post_return(mut self, function: &'static str, body: impl Into<String>) -> Self {
        self.post_returns.insert(function, body.into());
        self
    }

    /// How the guest's strings are encoded. Those that it brings along are UTF-8, so `describe` must be replaced.
    pub(crate) fn encoding(mut self, encoding: StringEncoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The type of the memory: pages, and at most how many.
    pub(crate) fn memory(mut self, pages: impl Into<String>) -> Self {
        self.memory = pages.into();
        self
    }

    /// A component without imports, text or binary, that is instantiated beside the guest, after it.
    pub(crate) fn beside(mut self, component: impl AsRef<[u8]>) -> Self {
        self.beside = wat::parse_bytes(component.as_ref()).unwrap().into_owned();
        self
    }

    /// Imports a function of an interface of `seawall:host`: `$write`, or `$host-logs` where an export has that name.
    pub(crate) fn import(mut self, interface: &'static str, function: &str, signature: &str) -> Self {
        let name = format!("seawall:host/{interface}@0.1.0");
        let id = function.rsplit(']').next().unwrap();
        let id = if self.bodies.contains_key(id) { format!("host-{id}") } else { id.to_owned() };
        self.imports.push_str(&format!("(import \"{name}\" \"{function}\" (func ${id} {signature}))\n"));
        if !self.worlds.contains(&interface) {
            self.worlds.push(interface);
        }
        self
    }

    /// Adds fields to the module: functions, data, globals.
    pub(crate) fn field(mut self, field: &str) -> Self {
        self.extra.push_str(field);
        self
    }

    /// Imports `$stdout`, which gives a stream, and `$print`, which writes to it.
    pub(crate) fn wasi(mut self) -> Self {
        self.imports.push_str(
            "(import \"wasi:cli/stdout@0.2.0\" \"get-stdout\" (func $stdout (result i32)))
             (import \"wasi:io/streams@0.2.0\" \"[method]output-stream.blocking-write-and-flush\"
               (func $print (param i32 i32 i32 i32)))\n",
        );
        self.wasi = true;
        self
    }

    /// Exports `logs` too.
    pub(crate) fn logs(mut self) -> Self {
        self.world = "plugin-logs";
        self
    }

    /// Exports every optional interface.
    pub(crate) fn full(mut self) -> Self {
        self.world = "plugin-full";
        self
    }

    /// The component.
    pub(crate) fn component(&self) -> Cow<'static, [u8]> {
        let mut module = wat::parse_str(self.module()).unwrap();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut resolve = Resolve::default();
        resolve.push_dir(wit.join("host")).unwrap();
        resolve.push_dir(wit.join("backend")).unwrap();
        let plugin = self.world;
        let mut imports: String =
            self.worlds.iter().map(|interface| format!("import seawall:host/{interface}@0.1.0;\n")).collect();
        if self.wasi {
            for package in WASI {
                resolve.push_str("wasi.wit", package).unwrap();
            }
            imports.push_str("import wasi:cli/stdout@0.2.0;\nimport wasi:io/streams@0.2.0;\n");
        }
        let world =
            format!("package test:guest;\nworld guest {{\ninclude seawall:backend/{plugin}@0.1.0;\n{imports}}}");
        let package = resolve.push_str("guest.wit", &world).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, self.encoding).unwrap();
        let mut encoded = ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap();
        if !self.beside.is_empty() {
            // Two more sections: a nested component, and an instance of it. Of the other sections of a component that
            // wit-component makes, none but the nested components define one.
            let before = sections(&encoded).filter(|id| *id == NESTED_COMPONENT).count();
            section(&mut encoded, NESTED_COMPONENT, &self.beside);
            let instantiate = [&[1, 0][..], &leb128(before), &[0]].concat();
            section(&mut encoded, COMPONENT_INSTANCE, &instantiate);
        }
        Cow::Owned(encoded)
    }

    fn module(&self) -> String {
        let key = "(param i32 i32 i64 i32 i32 i32)";
        let signatures = [
            ("describe", "execution-backend", "describe", String::new()),
            ("check", "execution-backend", "check", String::new()),
            ("create", "execution-backend", "create", "(param i32)".to_owned()),
            ("start", "execution-backend", "start", key.to_owned()),
            ("signal", "execution-backend", "signal", format!("{key} (param i32)")),
            ("remove", "execution-backend", "remove", format!("{key} (param i32)")),
            ("inspect", "execution-backend", "inspect", "(param i32 i32)".to_owned()),
            ("list", "execution-backend", "list", "(param i32 i32 i32)".to_owned()),
        ];
        let optional =
            OPTIONAL.map(|(name, interface, export, params)| (name, interface, export, params.replace("key", key)));
        let exported = |interface| match self.world {
            "plugin" => interface == "execution-backend",
            "plugin-logs" => ["execution-backend", "logs"].contains(&interface),
            _ => true,
        };
        let mut functions = String::new();
        for (name, interface, export, params) in signatures.into_iter().chain(optional) {
            if !exported(interface) {
                continue;
            }
            let body = &self.bodies[name];
            let export = format!("seawall:backend/{interface}@0.1.0#{export}");
            functions.push_str(&format!("(func ${name} (export \"{export}\") {params} (result i32)\n{body})\n"));
            if let Some(body) = self.post_returns.get(name) {
                functions.push_str(&format!("(func (export \"cabi_post_{export}\") (param i32)\n{body})\n"));
            }
        }
        let word = |value: u32| value.to_le_bytes().map(|byte| format!("\\{byte:02x}")).concat();
        let info: String = [(1024, 4), (1032, 5), (1040, 4), (0, 0), (0, 0)]
            .map(|(pointer, length)| word(pointer) + &word(length))
            .concat();
        format!(
            r#"(module
            {imports}
            (memory (export "memory") {memory})
            (global $top (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
              {realloc})
            {functions}
            {extra}
            (data (i32.const 1024) "test")
            (data (i32.const 1032) "1.2.3")
            (data (i32.const 1040) "Test")
            (data (i32.const 2048) "{info}")
            (data (i32.const {REPORT}) "\00\00\00\00\00\00\00\00{seven}\01\00\00\00")
            (data (i32.const 8400) "7")
            (data (i32.const {NOT_FOUND}) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00{text}\0c\00\00\00")
            (data (i32.const 8420) "nothing here"))"#,
            imports = self.imports,
            memory = self.memory,
            realloc = self.realloc,
            extra = self.extra,
            seven = word(8400),
            text = word(8420),
        )
    }
}

pub(crate) const NESTED_COMPONENT: u8 = 4;
const COMPONENT_INSTANCE: u8 = 5;

/// The sections of a binary, by their number.
fn sections(binary: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 8;
    std::iter::from_fn(move || {
        let id = *binary.get(at)?;
        at += 1;
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = binary[at];
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        at += size;
        Some(id)
    })
}

/// Appends a section.
pub(crate) fn section(binary: &mut Vec<u8>, id: u8, content: &[u8]) {
    binary.push(id);
    binary.extend(leb128(content.len()));
    binary.extend_from_slice(content);
}

/// An unsigned number as Wasm writes it.
fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
