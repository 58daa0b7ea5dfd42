//! Which files and variables hold secrets.

use std::collections::{HashMap, HashSet};

use super::glob;

/// Names of what holds secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Names of files without a glob.
    names: HashSet<String>,
    /// What stands behind the last dot, of names like `*.pem`.
    endings: HashSet<String>,
    /// Other names of files with a glob.
    globs: Vec<String>,
    /// Ends of paths, a part at a time.
    paths: Vec<Vec<String>>,
    /// Which of those begin with this part.
    by_first: HashMap<String, Vec<usize>>,
    /// Names that hold none, though one of the above fits.
    except: Vec<String>,
    /// Words of variables.
    variables: HashSet<String>,
    variables_except: HashSet<String>,
    /// Programs that name files without reading them.
    pub(crate) not_reading: HashSet<String>,
}

impl Secrets {
    pub(super) fn add(
        &mut self,
        files: &[String],
        except: &[String],
        variables: &[String],
        variables_except: &[String],
        not_reading: &[String],
    ) {
        for file in files {
            match file.contains('/') {
                true => {
                    let parts: Vec<String> = file.split('/').map(str::to_owned).collect();
                    self.by_first
                        .entry(parts[0].clone())
                        .or_default()
                        .push(self.paths.len());
                    self.paths.push(parts);
                }
                false
                    if file
                        .strip_prefix("*.")
                        .is_some_and(|end| !end.contains(['*', '?', '.'])) =>
                {
                    self.endings.insert(file[2..].to_owned());
                }
                false if file.contains(['*', '?']) => self.globs.push(file.clone()),
                false => {
                    self.names.insert(file.clone());
                }
            }
        }
        self.except.extend_from_slice(except);
        self.variables.extend(variables.iter().cloned());
        self.variables_except.extend(variables_except.iter().cloned());
        self.not_reading.extend(not_reading.iter().cloned());
    }

    /// Whether a file of this path holds secrets. A glob in the path is met by any name it may stand for.
    pub(crate) fn holds(&self, path: &str, globbed: bool) -> bool {
        let path = path.trim_end_matches('/');
        let lower;
        let path = match path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => {
                lower = path.to_ascii_lowercase();
                &lower
            }
            false => path,
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.is_empty() {
            return false;
        }
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        let by_name = self.names.contains(name)
            || ending.is_some_and(|ending| self.endings.contains(ending)) && !is_sample(path)
            || self.globs.iter().any(|pattern| glob(pattern, name))
            || globbed && self.may_be_named(name);
        (by_name || self.by_path(path, globbed)) && !self.except.iter().any(|except| glob(except, name))
    }

    /// Whether a glob may stand for one of the names.
    fn may_be_named(&self, name: &str) -> bool {
        let telling = name.starts_with('.') || name.chars().filter(|c| c.is_alphanumeric()).count() >= 2;
        telling && name.contains(['*', '?']) && self.names.iter().any(|secret| shell_glob(name, secret))
    }

    fn by_path(&self, path: &str, globbed: bool) -> bool {
        if !path.contains('/') {
            return false;
        }
        let parts: Vec<&str> = path.split('/').filter(|part| *part != ".").take(64).collect();
        if globbed {
            return self.paths.iter().any(|wanted| ends_in(&parts, wanted, globbed));
        }
        let first = |part: &&str| self.by_first.get(*part).into_iter().flatten();
        parts
            .iter()
            .flat_map(first)
            .any(|wanted| ends_in(&parts, &self.paths[*wanted], globbed))
    }

    /// Whether a variable of this name holds a secret.
    pub(crate) fn is_variable(&self, name: &str) -> bool {
        if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return false;
        }
        let words = crate::words::of(name);
        words.iter().any(|word| self.variables.contains(word))
            && !words.iter().any(|word| self.variables_except.contains(word))
    }
}

/// Whether a path leads through a folder of samples: a key there is made for tests.
fn is_sample(path: &str) -> bool {
    let samples = [
        "fixtures",
        "__fixtures__",
        "testdata",
        "test-data",
        "mocks",
        "samples",
        "examples",
    ];
    path.split('/').any(|part| samples.contains(&part))
}

/// Whether the parts of a path end as wanted; an empty first wanted part is the root.
fn ends_in(parts: &[&str], wanted: &[String], globbed: bool) -> bool {
    let rooted = wanted.first().is_some_and(String::is_empty);
    // `.ssh/**`: anything below.
    let open = wanted.last().is_some_and(|last| last == "**");
    let fixed = &wanted[..wanted.len() - usize::from(open)];
    let fits = |from: usize| {
        parts.len() >= from + fixed.len()
            && (open || parts.len() == from + fixed.len())
            && fixed.iter().zip(&parts[from..]).all(|(wanted, part)| {
                glob(wanted, part) || (globbed && part.contains(['*', '?']) && shell_glob(part, wanted))
            })
    };
    match rooted {
        true => fits(0),
        false => (0..parts.len()).any(fits),
    }
}

/// As the shell matches names: a leading dot is only met by a dot.
fn shell_glob(pattern: &str, name: &str) -> bool {
    (!name.starts_with('.') || pattern.starts_with('.')) && glob(pattern, name)
}
