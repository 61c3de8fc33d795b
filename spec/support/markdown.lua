-- What the specs need of Markdown: code blocks with the heading above them, and links.
local markdown = {}

local function read(file_name)
  local file <close> = assert(io.open(file_name))
  return file:read "a"
end

--- The code blocks of the file in the language: a list of { text, line, heading }.
function markdown.blocks(file_name, language)
  local blocks, heading, block, number = {}, "", nil, 0
  for line in read(file_name):gmatch "([^\n]*)\n" do
    number = number + 1
    local fence = line:match "^```(%w*)"
    if fence and block then
      block.text = table.concat(block.lines, "\n") .. "\n"
      if block.language == language then
        blocks[#blocks + 1] = block
      end
      block = nil
    elseif fence then
      block = { language = fence, heading = heading, line = number + 1, lines = {} }
    elseif block then
      block.lines[#block.lines + 1] = line
    else
      heading = line:match "^#+%s+(.*)" or heading
    end
  end
  assert(not block, file_name .. ": a code block has no end")
  return blocks
end

--- What a Lua block says it prints: the texts after `-->`, a line each; nil if it says nothing.
function markdown.expected_output(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line:match "%-%-> ?(.*)$"
  end
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or nil
end

--- The links of the file to other files of the project: a list of paths.
function markdown.local_links(file_name)
  local links = {}
  for link in read(file_name):gmatch "%]%(([^)]+)%)" do
    if not link:find "^%a+:" and not link:find "^#" then
      links[#links + 1] = link:match "^[^#]+"
    end
  end
  return links
end

return markdown
