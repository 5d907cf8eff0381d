package web

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	syntax "text/template/parse"
)

// Every key that code or a template names is a message, and every message is named. A call whose key cannot be seen fails,
// too, so that nothing is missed. A key made of parts, as "lender."+state+".title", names all messages whose changing parts
// are strings of the code: one that nobody says any more may pass if it is called as something else is.
func TestKeysAreUsed(t *testing.T) {
	t.Parallel()
	u := newUses()
	if err := errors.Join(u.readCode("../.."), u.readTemplates("pages")); err != nil {
		t.Fatal(err)
	}
	for _, problem := range u.problems {
		t.Error(problem)
	}
	for _, key := range slices.Sorted(maps.Keys(french.messages)) {
		if !u.names(key) {
			t.Errorf("words/fr.toml: %s: no page says it", key)
		}
	}
	for pattern, where := range u.patterns {
		named := func(key string) bool { return matches(pattern, key) != nil }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(french.messages)), named) {
			t.Errorf("%s: no message %q in words/fr.toml", where, pattern)
		}
	}
	for _, old := range []string{"page.old", "lender.bygone.title", "unit.bygone.one", "bygone.title", "when.weekday.sunday"} {
		if u.names(old) {
			t.Errorf("%s is taken for used", old)
		}
	}
}

// uses are the messages that code and templates ask for.
type uses struct {
	fset     *token.FileSet
	patterns map[string]string // where each key is named; "*" in it stands for what is known at run time only
	strings  map[string]bool   // all strings in the code
	problems []string

	keyed     map[string]int // functions and methods: which argument is a key
	templates map[string]int // likewise functions of templates
}

func newUses() *uses {
	return &uses{
		fset: token.NewFileSet(), patterns: map[string]string{}, strings: map[string]bool{},
		keyed: map[string]int{"Message": 0}, templates: map[string]int{},
	}
}

// names says whether a message is asked for.
func (u *uses) names(key string) bool {
	for pattern := range u.patterns {
		parts := matches(pattern, key)
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

// matches returns what stands for the stars of a pattern in a key, empty if there are none; nil if the key is none of its.
func matches(pattern, key string) []string {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "(.+)")
	if m := regexp.MustCompile("^" + quoted + "$").FindStringSubmatch(key); m != nil {
		return m[1:]
	}
	return nil
}

// readCode looks through all packages that say words. A function that hands its own argument on as a key is one whose
// callers are looked at, until there are no more such.
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

// scope is the function that a call stands in.
type scope struct {
	decl       ast.Decl // which it is, or is within
	parameters []string
	forward    func(parameter int) // called with the parameter that the function hands on as a key
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

// walk looks through code for calls that name keys, and for functions of templates that do.
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

// readCall notes the key that a call names, if it is one that does.
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

// add notes a key. One of which nothing is known would be every message.
func (u *uses) add(pattern, where string) {
	if strings.Trim(pattern, "*.") == "" {
		u.problems = append(u.problems, where+": cannot see which message this is: write its key, or a part of it, here")
		return
	}
	u.patterns[pattern] = where
}

// patternsOf returns what an expression may be, as patterns: one, or as many as a variable has values in its function.
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

// text returns the value of a string's literal.
func text(n ast.Node) (string, bool) {
	literal, ok := n.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(literal.Value)
	return s, err == nil
}

// readTemplates looks through the pages.
func (u *uses) readTemplates(folder string) error {
	names, err := fs.Glob(files, folder+"/*.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		trees := map[string]*syntax.Tree{}
		tree := syntax.New(name)
		tree.Mode = syntax.SkipFuncCheck
		if _, err := tree.Parse(mustRead(name), "", "", trees); err != nil {
			return err
		}
		for _, t := range trees {
			u.readNode(t.Root, name)
		}
	}
	return nil
}

// readNode looks through a part of a template. What it does not know cannot hold a call.
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

// readCommand looks at a call: of a function, or of a method of the page's words.
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
		if key, ok := n.Args[i+1].(*syntax.StringNode); ok {
			pattern = key.Text
		}
		u.add(pattern, where+": "+n.String())
	}
	for _, arg := range n.Args {
		u.readNode(arg, where)
	}
}
