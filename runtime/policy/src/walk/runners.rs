//! Programs that run recipes from a file of the project: `make`, `just`, `npm run`. The recipe is read.
//!
//! Only what is risky counts in a recipe: which programs a project builds and tests with is its own affair.

use super::command::shown;
use super::{Feed, Walk};
use crate::decision::Category;
use crate::shell::expand::Field;
use crate::words;

/// Most recipes that are followed for one target.
const MOST: usize = 40;

impl Walk<'_> {
    fn project_file(&mut self, path: &str) -> Option<String> {
        let name = self.named(path);
        let text = match self.written.get(&name) {
            Some(written) => written.clone()?,
            None => {
                // Only what is there binds the act: most projects have one of many names.
                let bytes = (self.around.read_file)(&name)?;
                self.read_script(&name);
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        (text.len() <= super::LONGEST_SCRIPT).then_some(text)
    }

    fn risky_code(&mut self, code: &str) {
        let only_risky = std::mem::replace(&mut self.only_risky, true);
        self.code(code, &Feed::Dynamic);
        self.only_risky = only_risky;
    }

    /// A name of a target that says what it does, read or not.
    fn target_says(&mut self, name: &str, read: bool, line: &str) {
        let words = words::of(name);
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
        if has(&[
            "dry",
            "plan",
            "preview",
            "check",
            "test",
            "build",
            "local",
            "notes",
            "note",
            "changelog",
            "candidate",
        ]) {
            return;
        }
        if has(&["deploy", "redeploy", "rollout", "rollback"]) {
            self.risky(Category::Deploy, "name-says-deploy", line);
        } else if has(&["publish"]) || !read && has(&["release", "push", "ship", "upload"]) {
            self.risky(Category::Publish, "name-says-publish", line);
        }
    }

    /// `make` and its kin.
    pub(super) fn runner(&mut self, program: &str, args: &[Field], fields: &[Field]) -> bool {
        let with_value = [
            "-C",
            "-f",
            "-j",
            "-l",
            "-I",
            "-o",
            "-W",
            "--file",
            "--makefile",
            "--directory",
            "--justfile",
            "--working-directory",
            "-d",
            "-t",
            "--taskfile",
        ];
        let (mut targets, mut file, mut folder, mut at) = (Vec::new(), None, String::new(), 0);
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            let number = |at: usize| {
                args.get(at)
                    .is_some_and(|next| next.text.bytes().all(|byte| byte.is_ascii_digit()))
            };
            at += 1;
            if text == "--eval" || text.starts_with("--eval=") {
                self.unknown("dynamic-code", shown(fields));
            }
            if text.starts_with('-') {
                let value = args.get(at).map(|next| next.text.clone()).unwrap_or_default();
                match text {
                    "-f" | "--file" | "--makefile" | "--justfile" => file = Some(value),
                    "-C" | "--directory" | "--working-directory" => {
                        folder = format!("{}/", value.trim_end_matches('/'))
                    }
                    _ => {}
                }
                if with_value.contains(&text) && (text != "-j" || number(at)) {
                    at += 1;
                }
            } else if let Some((name, value)) = text.split_once('=') {
                self.vars
                    .entry(name.to_owned())
                    .or_default()
                    .push(vec![value.to_owned()]);
            } else {
                targets.push(text.to_owned());
            }
        }
        let names: &[&str] = match program {
            "make" | "gmake" => &["GNUmakefile", "makefile", "Makefile"],
            "just" => &["justfile", "Justfile", ".justfile"],
            _ => &[],
        };
        let text = match file {
            Some(file) => self.project_file(&format!("{folder}{file}")),
            None => names
                .iter()
                .find_map(|name| self.project_file(&format!("{folder}{name}"))),
        };
        let recipes = text.map(|text| recipes(&text));
        let mut todo: Vec<String> = targets.clone();
        if let Some(recipes) = &recipes
            && todo.is_empty()
        {
            todo.extend(recipes.first.clone());
        }
        let (mut done, mut read) = (Vec::<String>::new(), Vec::<String>::new());
        while let Some(target) = todo.pop() {
            if done.contains(&target) || done.len() >= MOST {
                continue;
            }
            if let Some(recipes) = &recipes {
                for rule in recipes.rules.iter().filter(|rule| rule.targets.contains(&target)) {
                    read.push(target.clone());
                    todo.extend(rule.needs.iter().cloned());
                    let lines = rule.lines.join("\n");
                    self.risky_code(&lines);
                }
            }
            done.push(target);
        }
        for target in &targets {
            self.target_says(target, read.contains(target), &shown(fields));
        }
        self.ordinary_command("project-recipe", fields);
        true
    }

    /// `npm run NAME` and the other ways to run a script of `package.json`.
    pub(super) fn package_script(&mut self, program: &str, args: &[Field], fields: &[Field]) -> bool {
        let mut folder = String::new();
        let mut words: Vec<&str> = Vec::new();
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            at += 1;
            if ["--prefix", "--cwd", "-C", "--dir"].contains(&text) {
                if let Some(next) = args.get(at) {
                    folder = format!("{}/", next.text.trim_end_matches('/'));
                }
                at += 1;
            } else if self.policy.takes_value(program, text) {
                at += 1;
            } else if text == "--" {
                break;
            } else if !text.starts_with('-') {
                words.push(text);
            }
        }
        let own = [
            "install",
            "i",
            "ci",
            "add",
            "remove",
            "rm",
            "uninstall",
            "un",
            "update",
            "up",
            "upgrade",
            "outdated",
            "ls",
            "list",
            "audit",
            "init",
            "create",
            "config",
            "cache",
            "info",
            "view",
            "why",
            "explain",
            "help",
            "version",
            "pack",
            "link",
            "unlink",
            "dedupe",
            "prune",
            "fund",
            "root",
            "bin",
            "prefix",
            "doctor",
            "ping",
            "search",
            "workspaces",
            "workspace",
            "import",
            "fetch",
            "store",
            "env",
            "plugin",
            "set",
            "rebuild",
            "patch",
            "licenses",
            "global",
            "node",
            "exec",
            "x",
            "dlx",
            "pkg",
            "query",
            "sbom",
            "completion",
            "repl",
        ];
        let scripts: Vec<&str> = match words[..] {
            ["run" | "run-script" | "rum" | "urn", name, ..] => vec![name],
            ["test" | "t" | "tst", ..] => vec!["test"],
            ["start", ..] => vec!["start"],
            ["stop", ..] => vec!["stop"],
            ["restart", ..] => vec!["restart", "stop", "start"],
            ["install" | "i" | "ci" | "add", ..] | [] => {
                vec!["preinstall", "install", "postinstall", "prepare"]
            }
            ["pack", ..] => vec!["prepack", "prepare", "postpack"],
            // A version runs scripts, and commits.
            ["version", ..] => vec!["preversion", "version", "postversion"],
            ["config" | "c", "set", ..] if ["npm", "pnpm"].contains(&program) => {
                if !args.iter().any(|arg| arg.text.ends_with("location=project")) {
                    self.unknown("outside-workspace", shown(fields));
                }
                return false;
            }
            [file, ..] if program == "bun" && file.contains('.') => {
                let file = file.to_owned();
                return self.script_of(&file, fields);
            }
            [name, ..] if program != "npm" && !own.contains(&name) => vec![name],
            _ => return false,
        };
        let named = matches!(words[..], ["run" | "run-script" | "rum" | "urn", ..])
            || !own.contains(&words.first().copied().unwrap_or("install"));
        let scripts: Vec<String> = scripts.into_iter().map(str::to_owned).collect();
        let text = self.project_file(&format!("{folder}package.json"));
        let package: Option<serde_json::Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let mut todo: Vec<String> = scripts
            .iter()
            .flat_map(|name| [format!("pre{name}"), name.clone(), format!("post{name}")])
            .collect();
        let mut done = Vec::new();
        while let Some(name) = todo.pop() {
            if done.contains(&name) || done.len() >= MOST {
                continue;
            }
            let code = package
                .as_ref()
                .and_then(|package| package.get("scripts")?.get(&name)?.as_str().map(str::to_owned));
            if let Some(code) = code {
                self.risky_code(&code);
                done.push(name);
            }
        }
        if done.is_empty() && program != "npm" && !own.contains(&words.first().copied().unwrap_or("install"))
        {
            // No script of that name: a program that a package brought along.
            let inner: Vec<Field> = args
                .iter()
                .skip_while(|arg| arg.text.starts_with('-'))
                .cloned()
                .collect();
            let only_risky = std::mem::replace(&mut self.only_risky, true);
            self.invoke(&inner, &Feed::Inherited);
            self.only_risky = only_risky;
        }
        if named {
            for name in &scripts {
                self.target_says(name, done.contains(name), &shown(fields));
            }
        }
        self.ordinary_command("project-recipe", fields);
        true
    }
}

struct Recipes {
    first: Option<String>,
    rules: Vec<Recipe>,
}

struct Recipe {
    targets: Vec<String>,
    needs: Vec<String>,
    lines: Vec<String>,
}

/// The rules of a makefile or a justfile, with its variables put in. Conditions are not asked: every line counts.
fn recipes(text: &str) -> Recipes {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut recipes = Recipes {
        first: None,
        rules: Vec::new(),
    };
    for line in joined.lines() {
        if line.starts_with(['\t', ' ']) {
            if let Some(rule) = recipes.rules.last_mut() {
                let line = line.trim_start().trim_start_matches(['@', '-', '+']);
                if rule.lines.len() < 400 {
                    rule.lines.push(line.to_owned());
                }
            }
            continue;
        }
        let line = line.split(" #").next().unwrap_or_default();
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let assigns = line.find('=').filter(|at| {
            line.find(':')
                .is_none_or(|colon| colon + 1 == *at || *at < colon || line[colon..].starts_with("::="))
        });
        if let Some(at) = assigns {
            let name = line[..at]
                .trim_end_matches([':', '?', '+', '!'])
                .trim()
                .trim_start_matches("export ")
                .to_owned();
            if variables.len() < 400 {
                variables.push((name, line[at + 1..].trim().trim_matches('"').to_owned()));
            }
        } else if let Some((targets, needs)) = line.split_once(':') {
            let (needs, inline) = needs.split_once(';').unwrap_or((needs, ""));
            let targets: Vec<String> = targets.split_whitespace().map(str::to_owned).collect();
            if recipes.first.is_none() {
                recipes.first = targets.first().filter(|target| !target.starts_with('.')).cloned();
            }
            recipes.rules.push(Recipe {
                targets,
                needs: needs
                    .trim_start_matches(':')
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
                lines: if inline.is_empty() {
                    Vec::new()
                } else {
                    vec![inline.to_owned()]
                },
            });
        }
    }
    for rule in &mut recipes.rules {
        for line in &mut rule.lines {
            // A variable of a variable, up to a point.
            for _ in 0..4 {
                if !line.contains("$(") && !line.contains("${") && !line.contains("{{") || line.len() > 16_384
                {
                    break;
                }
                for (name, value) in &variables {
                    for form in [
                        format!("$({name})"),
                        format!("${{{name}}}"),
                        format!("{{{{{name}}}}}"),
                        format!("{{{{ {name} }}}}"),
                    ] {
                        if line.contains(&form) {
                            *line = line.replace(&form, value);
                        }
                    }
                }
            }
            *line = line.replace("$(MAKE)", "make").replace("$$", "$");
        }
    }
    recipes
}
