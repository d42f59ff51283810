package connector

import (
	_ "embed"
	"html/template"
	"time"
)

//go:embed statuspage.html
var statusPageSource string

// statusPage shows a [Status]. It needs no script and no other file.
var statusPage = template.Must(template.New("status").Funcs(template.FuncMap{
	"ago": func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return time.Since(*t).Round(time.Second).String() + " ago"
	},
	"when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(statusPageSource))
