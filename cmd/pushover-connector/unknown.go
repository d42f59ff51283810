package main

import (
	"cmp"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// An unknownVariable looks like one of ours and is not: a misspelt setting would
// otherwise go unnoticed. It is only pointed out, because Kubernetes sets
// variables like KAFKA_PORT for every service in a namespace.
type unknownVariable struct {
	name  string
	meant string // the variable it resembles, "" if there is none
}

// String is what check and config say about it.
func (v unknownVariable) String() string {
	if v.meant == "" {
		return v.name + " is not a variable of this program; 'pushover-connector config' lists them"
	}
	return v.name + " is not a variable of this program; did you mean " + v.meant + "?"
}

// warnUnknownVariables is how run points them out.
func warnUnknownVariables(log *slog.Logger) {
	for _, v := range unknownVariables(os.Environ()) {
		hint := slog.String("did_you_mean", v.meant)
		if v.meant == "" {
			hint = slog.String("remedy", "'pushover-connector config' lists the variables")
		}
		log.Warn("unknown environment variable", slog.String("variable", v.name), hint)
	}
}

// unknownVariables finds them by their prefix, and those of ours that have none
// by their likeness.
func unknownVariables(environ []string) []unknownVariable {
	var known, bare []string
	for _, sec := range new(settings).sections() {
		for _, v := range sec.variables() {
			known = append(known, v.Name)
			if !hasOurPrefix(v.Name) && len(v.Name) >= minLikeness {
				bare = append(bare, v.Name)
			}
		}
	}
	var unknown []unknownVariable
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case value == "": // counts as unset
		case slices.Contains(known, name) || isServiceLink(name):
		case hasOurPrefix(name):
			unknown = append(unknown, unknownVariable{name, nearest(name, known)})
		default:
			if meant := nearest(name, bare); meant != "" {
				unknown = append(unknown, unknownVariable{name, meant})
			}
		}
	}
	slices.SortFunc(unknown, func(a, b unknownVariable) int { return cmp.Compare(a.name, b.name) })
	return unknown
}

// minLikeness is the length from which on a name is too long to resemble
// somebody else's variable by chance.
const minLikeness = 8

func hasOurPrefix(name string) bool {
	return slices.ContainsFunc([]string{"PUSHOVER_", "NATS_", "KAFKA_"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// isServiceLink recognises what Kubernetes and Docker links set.
func isServiceLink(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.HasSuffix(name, "_PORT") ||
		strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_NAME") && strings.Contains(name, "_ENV_")
}

// nearest returns the candidate that a misspelt word was probably meant to be, ""
// if there is none: at most two letters are wrong, missing or too many, and not
// as many as half of them.
func nearest(word string, candidates []string) string {
	best, least := "", min(2, (len(word)-1)/2)+1
	for _, c := range candidates {
		if d := editDistance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, delete or replace to make b of a
// (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
