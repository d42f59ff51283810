package examples_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// stepper kills the program before its KILL_AT-th step, if that is set.
const stepper = `package main

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

var (
	steps     atomic.Int64
	killAt, _ = strconv.ParseInt(os.Getenv("KILL_AT"), 10, 64)
)

func step(statement string) {
	if steps.Add(1) == killAt {
		os.Stderr.WriteString("killed before: " + statement + "\n")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
`

// buildKillable builds a Go program that can be killed before each statement. The
// source stays as it is: the compiler sees copies with a call in between.
func buildKillable(dir, output string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	replace := map[string]string{}
	write := func(name, text string) error {
		copied := output + "-" + name
		replace[filepath.Join(dir, name)] = copied
		return os.WriteFile(copied, []byte(text), 0o600)
	}
	if err := write("step.go", stepper); err != nil {
		return err
	}
	for _, file := range files {
		text, err := withSteps(file)
		if err == nil {
			err = write(filepath.Base(file), text)
		}
		if err != nil {
			return err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(output+".json", overlay, 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-C", dir, "-overlay", output+".json", "-o", output, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func withSteps(file string) (string, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	stepped := func(list []ast.Stmt) (out []ast.Stmt) {
		for _, s := range list {
			statement, _, _ := strings.Cut(string(source[set.Position(s.Pos()).Offset:]), "\n")
			call := &ast.CallExpr{Fun: ast.NewIdent("step"), Args: []ast.Expr{&ast.BasicLit{Kind: token.STRING, Value: fmt.Sprintf("%q", statement)}}}
			out = append(out, &ast.ExprStmt{X: call}, s)
		}
		return out
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			n.List = stepped(n.List)
		case *ast.CaseClause:
			n.Body = stepped(n.Body)
		case *ast.CommClause:
			n.Body = stepped(n.Body)
		}
		return true
	})
	tree.Comments = nil
	var out bytes.Buffer
	if err := format.Node(&out, token.NewFileSet(), tree); err != nil {
		return "", err
	}
	return out.String(), nil
}
