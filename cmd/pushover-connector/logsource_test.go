package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// logging is what the source says about the log.
type logging struct {
	lines      []string // level and message of those that are constant
	computed   map[string]*computedCall
	activities []string // of the library's troubles
}

// computedCall is what a function that computes a message is made of.
type computedCall struct{ constants, levels []string }

var logMethods = map[string]int{ // the index of the message
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
	"Log": 2, "LogAttrs": 2,
}

func readLogging(t *testing.T) *logging {
	t.Helper()
	s := &logging{computed: make(map[string]*computedCall)}
	for _, dir := range []string{"connector", "pushover", "sinks/nats", "sinks/kafka", "sinks/stdout", "cmd/pushover-connector"} {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil || files == nil {
			t.Fatalf("no Go files in %s: %v", dir, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				s.read(t, f.Name.Name, d)
			}
		}
	}
	return s
}

// read takes in one declaration.
func (s *logging) read(t *testing.T, pkg string, decl ast.Decl) {
	t.Helper()
	name := pkg
	if f, ok := decl.(*ast.FuncDecl); ok {
		name += "." + f.Name.Name
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && pkg == "pushover" && key.Name == "activity" {
				s.activities = append(s.activities, literals(n.Value)...)
			}
		case *ast.CallExpr:
			s.call(t, name, decl, n)
		}
		return true
	})
}

// call takes in a call if it logs.
func (s *logging) call(t *testing.T, name string, decl ast.Decl, call *ast.CallExpr) {
	t.Helper()
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	at, ok := logMethods[method.Sel.Name]
	if !ok || len(call.Args) <= at {
		return
	}
	if on := lastName(method.X); on != "log" && on != "slog" {
		if lit, ok := call.Args[at].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			t.Errorf("%s calls %s.%s: a logger is named log", name, on, method.Sel.Name)
		}
		return
	}
	level := strings.ToUpper(strings.TrimSuffix(method.Sel.Name, "Context"))
	if at == 2 {
		level = strings.Join(levelsIn(call.Args[1]), "")
	}
	message, ok := call.Args[at].(*ast.BasicLit)
	if ok && level != "" {
		s.lines = append(s.lines, level+" "+literals(message)[0])
		return
	}
	c := s.computed[name]
	if c == nil {
		c = new(computedCall)
		s.computed[name] = c
	}
	c.constants = append(c.constants, literals(call.Args[at])...)
	if variable, ok := call.Args[at].(*ast.Ident); ok {
		c.constants = append(c.constants, assigned(decl, variable.Name)...)
	}
	if level != "" {
		c.levels = append(c.levels, level)
	} else {
		c.levels = append(c.levels, levelsIn(decl)...)
	}
}

// lastName is the last name of a selector: log of d.c.log.
func lastName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// literals are the string literals in a piece of source.
func literals(in ast.Node) []string {
	var all []string
	ast.Inspect(in, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, _ := strconv.Unquote(lit.Value) // it was parsed
			all = append(all, text)
		}
		return true
	})
	return all
}

// assigned are the string literals in what a variable is set to.
func assigned(in ast.Node, variable string) []string {
	var all []string
	ast.Inspect(in, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i, to := range a.Lhs {
				if lastName(to) == variable {
					all = append(all, literals(a.Rhs[i])...)
				}
			}
		}
		return true
	})
	return all
}

// levelsIn are the levels of slog that a piece of source names.
func levelsIn(in ast.Node) []string {
	var all []string
	ast.Inspect(in, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && lastName(s.X) == "slog" {
			if level, ok := strings.CutPrefix(s.Sel.Name, "Level"); ok && level != "" {
				all = append(all, strings.ToUpper(level))
			}
		}
		return true
	})
	return all
}
