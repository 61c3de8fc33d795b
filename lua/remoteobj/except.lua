--- Except and LocalExcept, as users see them.

local book = require "remoteobj.book"

return { Except = book.Except, LocalExcept = book.LocalExcept }
