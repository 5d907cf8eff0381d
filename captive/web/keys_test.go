package web

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	syntax "text/template/parse"
)

// Every key that code or a template names is a message, and every message is named. The test also fails for a call whose key cannot
// be determined, so that no key is missed. A key made of parts, such as "lender."+state+".title", names all messages whose variable
// parts are strings in the code. So an unused message may pass if its variable part is used for something else.
func TestKeysAreUsed(t *testing.T) {
	t.Parallel()
	u := newUses()
	if err := u.readCode("../.."); err != nil {
		t.Fatal(err)
	}
	var all []string
	for name, files := range allRooms(t) {
		if err := u.readTemplates(files); err != nil {
			t.Fatal(err)
		}
		w, err := load(files, "words/fr.toml", french)
		if name == "" {
			w, err = french, nil
		}
		if err != nil {
			t.Fatalf("%s%v", name, err)
		}
		for key := range w.messages {
			all = append(all, name+"words/fr.toml: "+key)
		}
	}
	for _, problem := range u.problems {
		t.Error(problem)
	}
	slices.Sort(all)
	for _, message := range all {
		if _, key, _ := strings.Cut(message, ": "); !u.names(key) {
			t.Errorf("%s: no page says it", message)
		}
	}
	for pattern, where := range u.patterns {
		named := func(message string) bool {
			_, key, _ := strings.Cut(message, ": ")
			return u.matches(pattern, key) != nil
		}
		if !slices.ContainsFunc(all, named) {
			t.Errorf("%s: no message %q in any words/fr.toml", where, pattern)
		}
	}
	for _, old := range []string{"page.old", "lender.bygone.title", "unit.bygone.one", "bygone.title", "when.weekday.bygone"} {
		if u.names(old) {
			t.Errorf("%s is taken for used", old)
		}
	}
}

// allRooms returns the sources of templates and words: this package under "", every folder with words among and below its siblings
// by its name with a slash, and the hub's pages under "hub/".
func allRooms(t *testing.T) map[string]fs.FS {
	t.Helper()
	rooms := map[string]fs.FS{"": files}
	for _, pattern := range []string{"../*/words", "../*/*/words"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range found {
			if folder := filepath.Dir(words); filepath.Base(folder) != "web" {
				rooms[filepath.ToSlash(strings.TrimPrefix(folder, ".."+string(filepath.Separator)))+"/"] = os.DirFS(folder)
			}
		}
	}
	rooms["hub/"] = os.DirFS("../../cmd/hub/dashboard")
	if len(rooms) < 3 {
		t.Fatal("no share has words: they are elsewhere")
	}
	return rooms
}

// uses are the messages that code and templates request.
type uses struct {
	fset     *token.FileSet
	patterns map[string]string // where each key is named; "*" in it stands for a part known at run time only
	strings  map[string]bool   // all strings in the code
	problems []string
	compiled map[string]*regexp.Regexp // of the patterns with a star

	keyed     map[string]int // by function or method: the index of the argument that is a key
	templates map[string]int // the same for functions of templates
}

func newUses() *uses {
	return &uses{
		fset: token.NewFileSet(), patterns: map[string]string{}, strings: map[string]bool{},
		compiled: map[string]*regexp.Regexp{},
		keyed:    map[string]int{"Message": 0}, templates: map[string]int{},
	}
}

// names says whether a message is requested.
func (u *uses) names(key string) bool {
	for pattern := range u.patterns {
		parts := u.matches(pattern, key)
		if parts != nil && !slices.ContainsFunc(parts, func(part string) bool { return !u.known(part) }) {
			return true
		}
	}
	return false
}

// known says whether a part of a key may come from the code: a string in it, a number or a plural form.
func (u *uses) known(part string) bool {
	_, err := strconv.Atoi(part)
	return err == nil || u.strings[part]
}

// matches returns what the stars of a pattern match in a key, empty if there are none; nil if it does not match.
func (u *uses) matches(pattern, key string) []string {
	if !strings.Contains(pattern, "*") {
		if pattern == key {
			return []string{}
		}
		return nil
	}
	r, ok := u.compiled[pattern]
	if !ok {
		r = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "(.+)") + "$")
		u.compiled[pattern] = r
	}
	if m := r.FindStringSubmatch(key); m != nil {
		return m[1:]
	}
	return nil
}

// readCode reads all packages that use words. The callers of a function that passes an argument on as a key are read, too,
// transitively.
func (u *uses) readCode(root string) error {
	var files []*ast.File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(u.fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := text(n); ok {
				u.strings[s] = true
			}
			return true
		})
		if file.Name.Name == "web" || slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
			return i.Path.Value == `"passerelle/captive/web"`
		}) {
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(files) < 5 {
		return fmt.Errorf("%d files say words: the code is elsewhere", len(files))
	}
	for found := -1; found < len(u.keyed)+len(u.templates); {
		found = len(u.keyed) + len(u.templates)
		u.patterns, u.problems = map[string]string{}, nil
		for _, file := range files {
			for _, d := range file.Decls {
				u.walk(d, scope{decl: d})
			}
		}
	}
	return nil
}

// scope is the function that contains a call.
type scope struct {
	decl       ast.Decl // the function's declaration, or the one that it is within
	parameters []string
	forward    func(parameter int) // called with the parameter that the function passes on as a key
}

// scopeOf returns the scope of a function's body.
func scopeOf(decl ast.Decl, signature *ast.FuncType, forward func(int)) scope {
	s := scope{decl: decl, forward: forward}
	for _, field := range signature.Params.List {
		for _, name := range field.Names {
			s.parameters = append(s.parameters, name.Name)
		}
	}
	return s
}

// walk searches code for calls that name keys, and for template functions that do.
func (u *uses) walk(node ast.Node, s scope) {
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			u.walk(n.Body, scopeOf(n, n.Type, func(i int) { u.keyed[n.Name.Name] = i }))
			return false
		case *ast.KeyValueExpr: // of a template.FuncMap
			name, named := text(n.Key)
			if method, ok := n.Value.(*ast.SelectorExpr); ok && named {
				if i, ok := u.keyed[method.Sel.Name]; ok {
					u.templates[name] = i
				}
			}
			if function, ok := n.Value.(*ast.FuncLit); ok && named {
				u.walk(function.Body, scopeOf(s.decl, function.Type, func(i int) { u.templates[name] = i }))
				return false
			}
		case *ast.CallExpr:
			u.readCall(n, s)
		}
		return true
	})
}

// readCall records the key that a call names, if it names one.
func (u *uses) readCall(call *ast.CallExpr, s scope) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	i, ok := u.keyed[method.Sel.Name]
	if !ok || i >= len(call.Args) {
		return
	}
	if name, ok := call.Args[i].(*ast.Ident); ok && slices.Contains(s.parameters, name.Name) {
		s.forward(slices.Index(s.parameters, name.Name))
		return
	}
	for _, pattern := range patternsOf(call.Args[i], s.decl) {
		u.add(pattern, u.fset.Position(call.Pos()).String())
	}
}

// add records a key. A key without a known part is a problem: it would match every message.
func (u *uses) add(pattern, where string) {
	if strings.Trim(pattern, "*.") == "" {
		u.problems = append(u.problems, where+": cannot see which message this is: write its key, or a part of it, here")
		return
	}
	u.patterns[pattern] = where
}

// patternsOf returns the possible values of an expression as patterns: one, or one per value of a variable in its function.
func patternsOf(e ast.Expr, decl ast.Decl) []string {
	if s, ok := text(e); ok {
		return []string{s}
	}
	switch e := e.(type) {
	case *ast.BinaryExpr:
		var all []string
		for _, left := range patternsOf(e.X, decl) {
			for _, right := range patternsOf(e.Y, decl) {
				all = append(all, left+right)
			}
		}
		return all
	case *ast.Ident:
		var all []string
		ast.Inspect(decl, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
				for i, to := range a.Lhs {
					if name, ok := to.(*ast.Ident); ok && name.Name == e.Name {
						all = append(all, patternsOf(a.Rhs[i], decl)...)
					}
				}
			}
			return true
		})
		if len(all) > 0 {
			return all
		}
	}
	return []string{"*"}
}

// text returns the value of a string literal.
func text(n ast.Node) (string, bool) {
	literal, ok := n.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(literal.Value)
	return s, err == nil
}

// readTemplates reads the pages.
func (u *uses) readTemplates(files fs.FS) error {
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		trees := map[string]*syntax.Tree{}
		tree := syntax.New(name)
		tree.Mode = syntax.SkipFuncCheck
		if _, err := tree.Parse(mustRead(files, name), "", "", trees); err != nil {
			return err
		}
		for _, t := range trees {
			u.readNode(t.Root, name)
		}
	}
	return nil
}

// readNode reads a part of a template. Nodes of other types cannot contain a call.
func (u *uses) readNode(node syntax.Node, where string) {
	switch n := node.(type) {
	case *syntax.ListNode:
		if n != nil {
			for _, part := range n.Nodes {
				u.readNode(part, where)
			}
		}
	case *syntax.ActionNode:
		u.readNode(n.Pipe, where)
	case *syntax.TemplateNode:
		u.readNode(n.Pipe, where)
	case *syntax.IfNode:
		u.readBranch(&n.BranchNode, where)
	case *syntax.WithNode:
		u.readBranch(&n.BranchNode, where)
	case *syntax.RangeNode:
		u.readBranch(&n.BranchNode, where)
	case *syntax.PipeNode:
		if n != nil {
			for _, command := range n.Cmds {
				u.readCommand(command, where)
			}
		}
	}
}

func (u *uses) readBranch(n *syntax.BranchNode, where string) {
	u.readNode(n.Pipe, where)
	u.readNode(n.List, where)
	u.readNode(n.ElseList, where)
}

// readCommand reads a call: of a function, or of a method of the page's words.
func (u *uses) readCommand(n *syntax.CommandNode, where string) {
	name, functions := "", u.templates
	switch f := n.Args[0].(type) {
	case *syntax.IdentifierNode:
		name = f.Ident
	case *syntax.FieldNode:
		name, functions = f.Ident[len(f.Ident)-1], u.keyed
	case *syntax.VariableNode:
		name, functions = f.Ident[len(f.Ident)-1], u.keyed
	}
	if i, ok := functions[name]; ok && i+1 < len(n.Args) {
		pattern := "*"
		switch key := n.Args[i+1].(type) {
		case *syntax.StringNode:
			pattern = key.Text
		case *syntax.PipeNode: // (print "part." .Name)
			if args := key.Cmds[0].Args; len(args) == 3 && args[0].String() == "print" {
				if first, ok := args[1].(*syntax.StringNode); ok {
					pattern = first.Text + "*"
				}
			}
		}
		u.add(pattern, where+": "+n.String())
	}
	for _, arg := range n.Args {
		u.readNode(arg, where)
	}
}
