package connector

import (
	"strings"

	"golang.org/x/net/html"
)

// blocks are the elements that stand on lines of their own. Pushover's subset has
// none of them, but senders do not keep to it.
var blocks = map[string]bool{
	"br": true, "p": true, "div": true, "li": true, "ul": true, "ol": true, "tr": true, "table": true, "pre": true,
	"blockquote": true, "hr": true, "h1": true, "h2": true, "h3": true, "h4": true, "h5": true, "h6": true,
}

// hidden are the elements whose content is not text.
var hidden = map[string]bool{"script": true, "style": true, "title": true, "template": true, "noscript": true, "iframe": true}

// textOf renders the markup of a message as plain text: without tags, with a
// link's address after its label, and on as many lines as a browser would show.
// The result is not HTML: a "<" in it is a less-than sign.
func textOf(markup string) string {
	var out strings.Builder
	newLine := func() {
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			out.WriteByte('\n')
		}
	}
	z := html.NewTokenizer(strings.NewReader(markup))
	skipping, href, label := "", "", 0
	endLink := func() {
		if href != "" && strings.TrimSpace(out.String()[label:]) != href {
			out.WriteString(" (" + href + ")")
		}
		href = ""
	}
	for {
		switch kind := z.Next(); kind {
		case html.ErrorToken: // the end: it reads from memory
			endLink()
			return strings.TrimSpace(out.String())
		case html.TextToken:
			if skipping == "" {
				out.Write(z.Text())
			}
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
			name, attributes := z.TagName()
			tag := string(name)
			switch {
			case skipping != "":
				if kind == html.EndTagToken && tag == skipping {
					skipping = ""
				}
			case hidden[tag]:
				if kind == html.StartTagToken {
					skipping = tag
				}
			case blocks[tag]:
				newLine()
			case tag == "a":
				endLink()
				for kind != html.EndTagToken && attributes {
					var key, value []byte
					if key, value, attributes = z.TagAttr(); string(key) == "href" {
						href, label = strings.TrimSpace(string(value)), out.Len()
					}
				}
			}
		case html.CommentToken, html.DoctypeToken:
		}
	}
}
