//! The modules of src, and which of them each file uses.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, Import};

/// A module: the crate's root is the empty path.
pub(crate) type Module = Vec<String>;

/// A file of src.
pub(crate) struct File {
    /// Its path below src.
    pub(crate) path: String,
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
}

/// All modules.
pub(crate) struct Tree(BTreeMap<Module, File>);

impl Tree {
    /// Reads src.
    pub(crate) fn read() -> Self {
        let src = source::root().join("src");
        let mut modules = BTreeMap::new();
        for file in source::files(&src).into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let path = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            let mut module: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            // main.rs is a crate of its own; modules of tests may look at everything.
            if path == "main.rs" || module.iter().any(|name| name == "tests") {
                continue;
            }
            let (imports, rest) = source::imports(&source::code(&std::fs::read_to_string(&file).unwrap()));
            modules.insert(module, File { path, imports, paths: source::paths(&rest) });
        }
        assert!(modules.len() > 100, "src is not where it is looked for");
        Self(modules)
    }

    /// The path below src of the file of a module.
    pub(crate) fn file(&self, module: &Module) -> &str {
        &self.0[module].path
    }

    /// For each module those that it uses: where what it names is defined, whatever re-exports it on the way.
    pub(crate) fn uses(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        self.0.keys().map(|module| (module, self.used_by(module))).collect()
    }

    fn used_by(&self, module: &Module) -> BTreeSet<Module> {
        let file = &self.0[module];
        let mut used = BTreeSet::new();
        for import in file.imports.iter().filter(|import| !import.is_public) {
            used.extend(self.user(module, &import.path));
        }
        for path in &file.paths {
            used.extend(self.user(module, path));
        }
        used.remove(module);
        used
    }

    /// The module that defines the item that `path` names. A path of a module alone, as in `pub(in path)` or before the
    /// paths that go on from it, uses nothing yet.
    fn user(&self, module: &Module, path: &[String]) -> Option<Module> {
        let definer = self.definer(module, path, 0)?;
        let last = path.last()?;
        (definer.last() != Some(last) || last == "*").then_some(definer)
    }

    /// The module that defines what `path` names in `module`; `None` for what comes from elsewhere.
    fn definer(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        // Re-exports that name each other would go on forever.
        if depth > 16 {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => self.parent(module)?,
            name => self.named(module, name, depth)?,
        };
        while let Some((name, behind)) = rest.split_first() {
            at = match name.as_str() {
                "super" => self.parent(&at)?,
                "*" => return Some(at),
                name => match self.child(&at, name) {
                    Some(child) => child,
                    // An item: it is defined here, or re-exported from elsewhere.
                    None => return Some(self.reexported(&at, name, depth).unwrap_or(at)),
                },
            };
            rest = behind;
        }
        Some(at)
    }

    /// What the first segment of a path means in a module: a child, or something imported.
    fn named(&self, module: &Module, name: &str, depth: usize) -> Option<Module> {
        self.child(module, name).or_else(|| {
            let import = self.0[module].imports.iter().find(|import| import.name == name && import.path[0] != name)?;
            self.definer(module, &import.path, depth + 1)
        })
    }

    fn reexported(&self, module: &Module, name: &str, depth: usize) -> Option<Module> {
        let import = self.0[module].imports.iter().find(|import| import.is_public && import.name == name)?;
        self.definer(module, &import.path, depth + 1)
    }

    fn child(&self, module: &Module, name: &str) -> Option<Module> {
        let child: Module = module.iter().cloned().chain([name.to_owned()]).collect();
        self.0.contains_key(&child).then_some(child)
    }

    fn parent(&self, module: &Module) -> Option<Module> {
        module.split_last().map(|(_, parent)| parent.to_vec())
    }
}
