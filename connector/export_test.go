package connector

// What the external tests look at directly.
var (
	MessageEvent  = messageEvent
	ResultEvent   = resultEvent
	DeadLetter    = deadLetter
	DecodeCommand = decodeCommand
	AppSlug       = appSlug
)
