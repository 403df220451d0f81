-- How Argo CD sees a SquadcastCredential. Into the ConfigMap argocd-cm, indented, under the key
-- resource.customizations.health.credentials.squadcast.com_SquadcastCredential
--
-- It agrees with kstatus, which Flux and helm use: Progressing where there is no usable token yet, Degraded where
-- somebody must act. A renewal that fails while the token is good is no ill health; the message tells of it.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, synced, stalled = conditions.Ready, conditions.Synced, conditions.Stalled

if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not looked at this yet" }
end
if obj.spec.suspend then
  return { status = "Suspended", message = "spec.suspend is true" }
end
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = stalled.reason .. ": " .. stalled.message }
end
if ready == nil or ready.status ~= "True" then
  return { status = "Progressing", message = ready and (ready.reason .. ": " .. ready.message) or "No token yet" }
end
if synced ~= nil and synced.status == "False" then
  return { status = "Healthy", message = "The token is good. " .. synced.reason .. ": " .. synced.message }
end
return { status = "Healthy", message = ready.message }
