local kept = look()
if kept and kept.kind == 'e' and kept.ends > now then return answer('found', kept.rest) end
return answer('none')
